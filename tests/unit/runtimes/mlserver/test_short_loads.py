"""What was short the last time is expected to be; what is not known is not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.runtimes.plugins import plugin_module

SHORT = plugin_module("mlserver", "overbook_mlserver/short_loads.py")


def settings(place: str = "/a/one", runtime: str = "mlserver_sklearn.SKLearnModel") -> Any:
    return SimpleNamespace(implementation_=runtime, parameters=SimpleNamespace(uri=place))


class Processor:
    """Time of the thread that loads."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(SHORT, "time", SimpleNamespace(thread_time=lambda: self.now))

    def load(self, seconds: float, *, answer: bool = True) -> Any:
        async def run() -> bool:
            self.now += seconds
            return answer

        return run


@pytest.fixture
def processor(monkeypatch: pytest.MonkeyPatch) -> Processor:
    return Processor(monkeypatch)


async def test_the_last_load_decides(processor: Processor) -> None:
    loads = SHORT.ShortLoads(lambda: 0.0)
    assert not loads.expected(settings())
    assert await loads.timed(settings(), processor.load(0.004)) is True
    assert loads.expected(settings())
    assert not loads.expected(settings("/a/two"))
    assert not loads.expected(settings(runtime="mlserver_xgboost.XGBoostModel"))
    await loads.timed(settings(), processor.load(0.02))
    assert not loads.expected(settings())


async def test_as_short_as_three_predictions_is_short(processor: Processor) -> None:
    prediction = {"takes": 0.009}
    loads = SHORT.ShortLoads(lambda: prediction["takes"])
    await loads.timed(settings(), processor.load(0.025))
    assert loads.expected(settings())
    prediction["takes"] = 0.008
    assert not loads.expected(settings())


async def test_the_answer_is_passed_on_and_a_load_that_raises_is_not_remembered(
    processor: Processor,
) -> None:
    loads = SHORT.ShortLoads(lambda: 0.0)
    assert await loads.timed(settings(), processor.load(0.001, answer=False)) is False

    async def breaks() -> bool:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await loads.timed(settings("/a/two"), breaks)
    assert not loads.expected(settings("/a/two"))


async def test_only_so_many_are_remembered(
    processor: Processor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SHORT, "_REMEMBERED", 2)
    loads = SHORT.ShortLoads(lambda: 0.0)
    names = ("one", "two", "three")

    async def load(name: str) -> list[bool]:
        await loads.timed(settings(f"/a/{name}"), processor.load(0.001))
        return [loads.expected(settings(f"/a/{each}")) for each in names]

    assert await load("one") == [True, False, False]
    assert await load("two") == [True, True, False]
    assert await load("one") == [True, True, False]
    assert await load("three") == [False, False, True]
