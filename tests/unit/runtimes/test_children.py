"""A child of an installation ends with all that it started: with its own work, with ours, and with this process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence

import psutil
import pytest

from overbook.runtimes.children import started

# Says its number and that of what it started, which outlives it.
_PARENT = """
import os, subprocess, sys, time
other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
print(os.getpid(), other.pid, file=sys.stderr, flush=True)
time.sleep({seconds})
sys.exit(7)
"""
_OURS = """
import os, sys
from overbook.runtimes.children import started
with started(sys.argv[1:]) as child:
    print(child.process.stderr.readline(), flush=True)
    child.process.wait()
"""
_MUCH = 60.0


def parent(seconds: float) -> list[str]:
    return [sys.executable, "-c", _PARENT.format(seconds=seconds)]


def gone(pids: Sequence[int]) -> None:
    """Until the kernel has ended them; who is nobody's child any more is reaped by others."""
    processes = []
    for pid in pids:
        try:
            processes.append(psutil.Process(pid))
        except psutil.NoSuchProcess:
            continue
    for each in processes:
        try:
            if each.status() != psutil.STATUS_ZOMBIE:
                each.wait(_MUCH)
        except psutil.NoSuchProcess:
            continue


def test_what_a_command_leaves_ends_with_it() -> None:
    with started(parent(0)) as child:
        _, said = child.process.communicate(timeout=_MUCH)
        assert child.process.returncode == 7
    gone([int(each) for each in said.split()])


def test_all_of_it_ends_when_we_leave() -> None:
    with started(parent(1000)) as child:
        assert child.process.stderr is not None
        pids = [int(each) for each in child.process.stderr.readline().split()]
        child.end()
        child.end()
        child.process.wait(_MUCH)
    gone(pids)
    with started(parent(1000)) as child:
        assert child.process.stderr is not None
        pids = [int(each) for each in child.process.stderr.readline().split()]
    gone(pids)


@pytest.mark.parametrize("victim", ["us", "the minder"])
def test_all_of_it_ends_with_this_process(victim: str) -> None:
    """Also when it is killed, and so can do nothing."""
    command = [sys.executable, "-c", _OURS, *parent(1000)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as ours:
        assert ours.stdout is not None
        pids = [int(each) for each in ours.stdout.readline().split()]
        [minder] = psutil.Process(ours.pid).children()
        os.kill(ours.pid if victim == "us" else minder.pid, signal.SIGKILL)
        ours.wait(_MUCH)
    # Where the minder itself is killed, the kernel ends the command, and nobody what that started.
    gone(pids if victim == "us" else pids[:1])
    if victim == "the minder":
        os.kill(pids[1], signal.SIGKILL)


def test_a_command_that_cannot_be_run() -> None:
    with started(["/nowhere/uv"]) as child:
        _, said = child.process.communicate(timeout=_MUCH)
    assert (child.process.returncode, said) == (
        127,
        "cannot run /nowhere/uv: No such file or directory\n",
    )


def test_the_signal_that_ended_it() -> None:
    code = "import os, signal; os.kill(os.getpid(), signal.SIGTERM)"
    with started([sys.executable, "-c", code]) as child:
        assert child.process.wait(_MUCH) == 128 + signal.SIGTERM
