from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from overbook.agent.servers import stubs
from overbook.agent.servers.stubs import Stub, StubWatch

SECONDS = 10.0


class Children:
    """Real little processes that wait until they are ended."""

    def __init__(self, folder: Path) -> None:
        self._running: list[subprocess.Popen[bytes]] = []
        # A program whose command line is like a stub's.
        self._program = folder / "triton_python_backend_stub"
        self._program.write_text(f"#!{sys.executable}\nimport sys\nsys.stdin.read()\n")

    def start(self, model_file: str = "models/a/1/model.py") -> Stub:
        child = subprocess.Popen(
            [sys.executable, self._program, model_file, "segment"], stdin=subprocess.PIPE
        )
        self._running.append(child)
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
