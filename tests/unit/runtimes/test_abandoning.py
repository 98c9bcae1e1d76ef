"""An installation that nobody waits for any more ends, with all that it runs."""

from __future__ import annotations

import asyncio
import fcntl
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from overbook.runtimes.abandoning import Abandoned, check, in_thread, run, watched
from overbook.runtimes.children import started
from overbook.runtimes.installer import locked

_ENDLESS = [
    sys.executable,
    "-c",
    "import os, sys, time; print(os.getpid(), file=sys.stderr, flush=True); time.sleep(1000)",
]
_MUCH = 60.0


class Begun:
    """Work that says when it has begun, and how it ended."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self.begun = threading.Event()
        self.ended: BaseException | None = None

    def __call__(self) -> None:
        try:
            self._work()
        except BaseException as error:
            self.ended = error
            raise


async def abandoned(begun: Begun) -> None:
    task = asyncio.create_task(in_thread(begun))
    assert await asyncio.to_thread(begun.begun.wait, _MUCH)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert isinstance(begun.ended, Abandoned)


async def test_a_child_is_killed() -> None:
    pids: list[int] = []

    def work() -> None:
        with started(_ENDLESS) as child, watched(child):
            assert child.process.stderr is not None
            pids.append(int(child.process.stderr.readline()))
            made.begun.set()
            child.process.wait()

    made = Begun(work)
    await abandoned(made)
    assert not psutil.pid_exists(pids[0])


async def test_no_other_child_lives_after_that() -> None:
    def work() -> None:
        made.begun.set()
        while True:
            run([sys.executable, "-c", ""], seconds=_MUCH)

    made = Begun(work)
    await abandoned(made)


async def test_work_without_a_child_is_asked_to_look() -> None:
    def work() -> None:
        made.begun.set()
        while True:
            check()

    made = Begun(work)
    await abandoned(made)


async def test_who_waits_for_another_installation_stops_waiting(tmp_path: Path) -> None:
    lock = tmp_path / "lock"

    def work() -> None:
        with locked(lock, lambda _message, _fraction: made.begun.set()):
            raise AssertionError("somebody else has it")

    with lock.open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        made = Begun(work)
        await abandoned(made)


async def test_what_is_waited_for_is_what_it_was() -> None:
    def fails() -> None:
        check()
        raise ValueError("as it is")

    assert await in_thread(run, [sys.executable, "-c", "exit(3)"], seconds=_MUCH) == (3, "")
    with pytest.raises(ValueError, match="as it is"):
        await in_thread(fails)
    with pytest.raises(subprocess.TimeoutExpired):
        await in_thread(run, _ENDLESS, seconds=0.01)
    check()
