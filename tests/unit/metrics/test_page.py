"""The page has all sources, and one that fails costs the others nothing."""

from __future__ import annotations

import asyncio

import pytest

from overbook.metrics.families import Family, Series
from overbook.metrics.page import Page


class Fixed:
    def __init__(self, model: str, error: BaseException | None = None) -> None:
        self._model = model
        self._error = error

    async def families(self) -> list[Family]:
        if self._error is not None:
            raise self._error
        return [
            Family("rows", "counter", "Rows.", [Series("rows", (("model", self._model),), 1.0)])
        ]


async def test_sources_are_shown_beside_what_is_ours() -> None:
    page = Page()
    with page.showing(Fixed("a")), page.showing(Fixed("b")):
        text = (await page.text()).decode()
        assert text.count("# TYPE rows counter") == 1
        assert 'rows{model="a"} 1.0\nrows{model="b"} 1.0\n' in text
        assert "# TYPE overbook_xds_ack_seconds histogram" in text
    assert "rows" not in (await page.text()).decode()


async def test_a_source_that_fails_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    page = Page()
    # An agent that ends while it is asked is no fault.
    for error, logged in ((asyncio.CancelledError(), False), (RuntimeError("broken"), True)):
        with page.showing(Fixed("a")), page.showing(Fixed("b", error)):
            text = (await page.text()).decode()
        assert 'rows{model="a"} 1.0' in text
        assert ("metrics of models are left out" in caplog.text) is logged
