"""What blocks is left to itself after a time, and nobody waits for it."""

from __future__ import annotations

import threading

import pytest

from overbook.artifacts.sources.web.in_thread import in_thread


async def test_what_it_returns_and_raises() -> None:
    async def answer(call: object) -> object:
        assert callable(call)
        return await in_thread(call, 5.0, "test")

    assert await answer(lambda: threading.current_thread().name) == "test"
    with pytest.raises(ZeroDivisionError):
        await answer(lambda: 1 / 0)


async def test_after_its_time_nobody_waits() -> None:
    released = threading.Event()
    ended = threading.Event()

    def call() -> None:
        released.wait(30)
        ended.set()

    with pytest.raises(TimeoutError):
        await in_thread(call, 0.01, "test")
    released.set()
    assert ended.wait(5)
