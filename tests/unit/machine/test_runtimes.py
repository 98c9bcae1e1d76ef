"""What a Server claims is made true before its agent starts: the runtime, and the extras its words name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from overbook.machine import runtimes as module
from overbook.machine.runtimes import RuntimeKeeper
from overbook.runtimes.install import RuntimeEnvironment, RuntimeInstallError, UnknownRuntime

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
