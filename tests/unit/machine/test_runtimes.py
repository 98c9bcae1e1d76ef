"""What a Server claims is made true before its agent starts: the runtime, and the extras its words name."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from overbook.machine import runtimes as module
from overbook.machine.runtimes import MOST_AT_ONCE, RuntimeKeeper
from overbook.runtimes import own
from overbook.runtimes.install import RuntimeEnvironment, RuntimeInstallError, UnknownRuntime
from overbook.runtimes.own import Place, Wish

Installed = list[frozenset[str]]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Installed:
    """The extras of each environment made so far; the last one is in use."""
    made: Installed = []

    def environment(name: str) -> RuntimeEnvironment:
        if not made:
            raise RuntimeInstallError("not installed")
        here = Path("/r")
        return RuntimeEnvironment(name, here / "bin" / "python", here, here, extras=made[-1])

    def install(
        _name: str, progress: Callable[[str, float | None], None], *, extras: frozenset[str]
    ) -> Path:
        progress("working", None)
        made.append(extras | (made[-1] if made else frozenset()))
        return Path("/r")

    monkeypatch.setattr(module, "environment", environment)
    monkeypatch.setattr(module, "install", install)
    return made


def ensure(*claims: str, name: str = "mlserver") -> list[str]:
    said: list[str] = []
    keeper = RuntimeKeeper(Path("/nowhere"), lambda message, _: said.append(message))
    asyncio.run(keeper.ensure(name, claims))
    return said


def test_a_missing_runtime_is_installed_once_with_what_is_claimed(installed: Installed) -> None:
    assert ensure("fraud", "xgboost") == ["working"]
    assert installed == [{"xgboost"}]
    assert ensure("xgboost") == []


def test_a_missing_extra_is_installed_too(installed: Installed) -> None:
    ensure()
    assert ensure("fraud") == []
    assert ensure("lightgbm") == ["working"]
    assert installed[-1] == {"lightgbm"}


def test_an_unknown_runtime(installed: Installed) -> None:
    with pytest.raises(UnknownRuntime):
        ensure(name="nope")
    assert installed == []


class Own:
    """Environments of Servers' own, each known by its package: some are there, and the rest hang until they may end."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, there: set[str]) -> None:
        self.there = there
        self.begun: list[str] = []
        self.may_end = threading.Event()
        monkeypatch.setattr(own, "made_at", self._made_at)
        monkeypatch.setattr(own, "make_at", self._make_at)
        self.said: list[str] = []
        self.keeper = RuntimeKeeper(Path("/nowhere"), lambda _message, _fraction: None)

    def _made_at(self, place: Place) -> RuntimeEnvironment | None:
        here, (package,) = place.root, place.recipe.packages
        if package not in self.there:
            return None
        return RuntimeEnvironment("mlserver", here / "bin" / "python", here, here)

    def _make_at(self, place: Place, _progress: object) -> RuntimeEnvironment:
        (package,) = place.recipe.packages
        self.begun.append(package)
        assert self.may_end.wait(60)
        self.there.add(package)
        made = self._made_at(place)
        assert made is not None
        return made

    def ask(self, package: str) -> asyncio.Task[RuntimeEnvironment]:
        wish = Wish(packages=(package,))
        return asyncio.create_task(self.keeper.ensure("mlserver", wish=wish, tell=self.said.append))

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not true():  # noqa: ASYNC110 - what is waited for happens in threads
                await asyncio.sleep(0)


async def test_who_has_an_environment_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    many = Own(monkeypatch, {"healthy==1"})
    hanging = [many.ask(f"hanging{each}==1") for each in range(2 * MOST_AT_ONCE)]
    await many.until(lambda: len(many.begun) == MOST_AT_ONCE)
    assert (await many.ask("healthy==1")).root
    assert len(many.begun) == MOST_AT_ONCE
    await many.until(lambda: len(many.said) == MOST_AT_ONCE)
    assert all(
        each.startswith("waiting for one of these environments to be made: mlserver with hanging")
        for each in many.said
    )
    many.may_end.set()
    await asyncio.gather(*hanging)
    assert len(many.begun) == 2 * MOST_AT_ONCE


async def test_two_that_want_the_same_have_it_made_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    two = Own(monkeypatch, set())
    asked = [two.ask("same==1")]
    await two.until(lambda: two.begun == ["same==1"])
    asked.append(two.ask("same==1"))
    await two.until(lambda: bool(two.said))
    assert two.said == ["waiting for the environment of mlserver with same==1 to be made"]
    two.may_end.set()
    assert len({each.root for each in await asyncio.gather(*asked)}) == 1
