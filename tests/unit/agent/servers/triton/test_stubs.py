from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from overbook.agent.servers.triton import stubs
from overbook.agent.servers.triton.stubs import Stub, StubWatch

SECONDS = 10.0


class Children:
    """Real little processes that wait until they are ended."""

    def __init__(self, folder: Path) -> None:
        self._running: list[subprocess.Popen[bytes]] = []
        # A program whose command line is like a stub's.
        self._program = folder / "triton_python_backend_stub"
        self._program.write_text("import sys\nprint(flush=True)\nsys.stdin.read()\n")

    def start(self, model_file: str = "models/a/1/model.py") -> Stub:
        return self._started([sys.executable, str(self._program), model_file, "segment"])

    def start_working(self) -> Stub:
        return self._started(["sh", "-c", "echo; while :; do :; done"])

    def _started(self, command: list[str]) -> Stub:
        """Once it has said so: until then it grows."""
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._running.append(child)
        assert child.stdout is not None
        child.stdout.readline()
        return Stub(child.pid, f"overbook-test-{child.pid}")

    def reap(self, stub: Stub) -> None:
        next(each for each in self._running if each.pid == stub.pid).wait()

    def end(self) -> None:
        for child in self._running:
            child.kill()
            child.communicate()


@pytest.fixture
def children(tmp_path: Path) -> Iterator[Children]:
    made = Children(tmp_path)
    yield made
    made.end()


async def test_the_end_of_a_stub_is_told_once(children: Children) -> None:
    lost: asyncio.Queue[str] = asyncio.Queue()
    watch = StubWatch(lost.put_nowait)
    one, two = children.start(), children.start()
    watch.add("a", frozenset({one, two}))
    assert watch.of("a") == {one, two}
    stubs.kill([one])
    async with asyncio.timeout(SECONDS):
        assert await lost.get() == "a"
    stubs.kill([two])
    async with asyncio.timeout(SECONDS):
        await stubs.ended([two])
    assert lost.empty()


async def test_an_intended_end_is_not_told(children: Children) -> None:
    lost: list[str] = []
    watch = StubWatch(lost.append)
    stub, other = children.start(), children.start()
    watch.add("a", frozenset({stub}))
    watch.add("b", frozenset({other}))
    assert watch.take("a") == {stub}
    assert watch.take("a") == frozenset()
    watch.clear()
    stubs.kill([stub, other])
    async with asyncio.timeout(SECONDS):
        await stubs.ended([stub, other])
    assert lost == []


@pytest.mark.parametrize("reaped", [True, False], ids=["gone", "zombie"])
async def test_one_that_ended_before_it_was_watched_counts_as_ending_now(
    children: Children, reaped: bool
) -> None:
    lost: asyncio.Queue[str] = asyncio.Queue()
    watch = StubWatch(lost.put_nowait)
    stub = children.start()
    stubs.kill([stub])
    if reaped:
        children.reap(stub)
    watch.add("a", frozenset({stub}))
    assert lost.empty(), "never while it is being added"
    async with asyncio.timeout(SECONDS):
        assert await lost.get() == "a"
        await stubs.ended([stub])
    stubs.kill([stub])


def test_memory_of_stubs_is_their_own(children: Children) -> None:
    one, two = children.start(), children.start()
    both = stubs.memory([one, two])
    assert both.processes == 2
    assert both.bytes > stubs.memory([one]).bytes > 0
    assert stubs.memory([]).bytes == 0


def test_processes_that_wait_are_halted_and_go_on(children: Children) -> None:
    one, two = children.start(), children.start()
    assert stubs.halt([one, two], work=1.0, patience=SECONDS)
    assert {psutil.Process(each.pid).status() for each in (one, two)} == {psutil.STATUS_STOPPED}
    stubs.resume([one, two])
    assert {_next_change(each) for each in (one, two)} == {signal.SIGCONT}


@pytest.mark.parametrize(("work", "patience"), [(0.1, SECONDS), (SECONDS, 0.1)])
def test_one_that_works_is_not_halted_and_neither_is_its_fellow(
    children: Children, work: float, patience: float
) -> None:
    waits, works = children.start(), children.start_working()
    began = time.monotonic()
    assert not stubs.halt([waits, works], work=work, patience=patience)
    assert time.monotonic() - began < SECONDS
    for each in (waits, works):
        assert psutil.Process(each.pid).status() != psutil.STATUS_STOPPED


def test_nothing_is_halted_where_the_kernel_does_not_tell(
    children: Children, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.read_text

    def forbidden(path: Path) -> str:
        if path.name == "syscall":
            raise PermissionError(path)
        return read(path)

    monkeypatch.setattr(Path, "read_text", forbidden)
    waits = children.start()
    began = time.monotonic()
    assert not stubs.halt([waits], work=SECONDS, patience=SECONDS)
    assert time.monotonic() - began < SECONDS / 2
    assert psutil.Process(waits.pid).status() != psutil.STATUS_STOPPED


def test_one_that_ended_does_not_keep_others_from_being_halted(children: Children) -> None:
    gone, zombie, waits = children.start(), children.start(), children.start()
    stubs.kill([gone, zombie])
    children.reap(gone)
    os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
    assert stubs.halt([gone, zombie, waits], work=1.0, patience=SECONDS)
    assert psutil.Process(waits.pid).status() == psutil.STATUS_STOPPED


def _next_change(stub: Stub) -> int:
    """The signal that stopped it, or SIGCONT once it goes on."""
    told = os.waitid(os.P_PID, stub.pid, os.WCONTINUED | os.WSTOPPED)
    return told.si_status if told is not None else 0
