"""Child processes of the benchmarks, and what a tree of processes costs in memory and time."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import psutil

from bench.errors import BenchFailed

_STOP_SECONDS: Final = 10.0


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody uses now; all at once, so that they differ."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


@contextlib.contextmanager
def child(command: Sequence[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own that is stopped at the end of the block. Its output goes to ``log``."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            # As Overbook starts Envoy: the scheduler of the kernel treats sessions as groups.
            start_new_session=True,
        )
    share_priority([process.pid])
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until(what: str, done: Callable[[], bool], *, seconds: float, pause: float = 0.02) -> None:
    """Ask until it is so. Raises BenchFailed after ``seconds``."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise BenchFailed(f"{what}: not within {seconds:.0f} s")
        time.sleep(pause)


def share_priority(pids: Iterable[int]) -> None:
    """Give other processes' sessions the niceness of this process.

    With the kernel's autogroups a session competes as one, and the niceness of its processes counts only among
    them: Envoy and MLServer, which Overbook starts in sessions of their own, would stand behind what the
    benchmark starts itself. Does nothing where there are no autogroups, or for want of permission.
    """
    for pid in pids:
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/autogroup").write_text(str(os.nice(0)))


def listens(port: int) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def tree(pid: int, *, without: int | None = None) -> list[psutil.Process]:
    """A process and all below it, except one process and all below that."""
    root = psutil.Process(pid)
    found = [root, *root.children(recursive=True)]
    if without is None:
        return found
    excluded = {each.pid for each in tree(without)}
    return [each for each in found if each.pid not in excluded]


def memory_bytes(processes: Sequence[psutil.Process]) -> int:
    """Proportional set size: shared pages are counted once among those who share them."""
    return sum(int(each.memory_full_info().pss) for each in processes)


def cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    """User and system time so far. Processes must live: their share would be missing."""
    times = [each.cpu_times() for each in processes]
    return sum(each.user + each.system for each in times)
