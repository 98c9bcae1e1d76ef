"""A rate is kept, whatever the sizes of what comes."""

from __future__ import annotations

import pytest

from overbook.artifacts.sources.web.pace import Pace


@pytest.mark.parametrize("chunk", [1_000, 64_000, 1_000_000])
def test_the_rate_is_kept(chunk: int) -> None:
    pace, now, total = Pace(100_000), 1000.0, 0
    for _ in range(2_000_000 // chunk):
        total += chunk
        now += pace.wait_after(chunk, now)
    assert total / (now - 1000.0) == pytest.approx(100_000, rel=0.02)


def test_a_lull_saves_up_no_more_than_a_moment() -> None:
    pace = Pace(100_000)
    pace.wait_after(100_000, 0.0)
    assert pace.wait_after(100_000, 1000.0) == pytest.approx(0.75)


def test_without_a_rate_nobody_waits() -> None:
    assert Pace(None).wait_after(10**12, 0.0) == 0.0
