"""A probe of a process that ends while it is looked at, or cannot be: nothing to read is an answer, not an error."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from overbook.agent.memory import readings
from overbook.agent.memory.probe import TreeProbe
from overbook.agent.memory.readings import read_tree


async def test_a_process_that_lives() -> None:
    probe = TreeProbe(os.getpid)
    reading = await probe.read()
    assert reading is not None
    assert reading.held > 1_000_000
    assert os.getpid() in probe.members
    assert (probe.quick() or 0) > 1_000_000


@pytest.fixture
def zombie() -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen([sys.executable, "-c", "pass"], stdin=subprocess.DEVNULL)
    # Until it has ended, and without taking its exit code.
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    yield child
    child.wait()


async def test_a_process_that_ended_and_was_not_asked_yet_is_gone(
    zombie: subprocess.Popen[bytes],
) -> None:
    child = zombie
    probe = TreeProbe(lambda: child.pid)
    assert await probe.read() is None
    assert probe.quick() in (None, 0)
    assert read_tree(child.pid) is None
    child.poll()
    assert await probe.read() is None
    assert probe.quick() is None


async def test_nobody_to_look_at() -> None:
    probe = TreeProbe(lambda: None)
    assert await probe.read() is None
    assert (probe.quick(), probe.peak()) == (None, None)


@pytest.mark.parametrize("what", ["the process", "its memory"])
async def test_without_a_file_descriptor_nothing_is_known(
    what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(_: object) -> tuple[int, int]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    if what == "the process":
        monkeypatch.setattr(psutil, "Process", short)
    else:
        monkeypatch.setattr(readings, "_read_process", short)
    assert await TreeProbe(os.getpid).read() is None
