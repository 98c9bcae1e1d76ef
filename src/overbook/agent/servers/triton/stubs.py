"""The processes of Triton's Python backend: one stub per instance of a model. Found by command line, watched by pidfd.

Knows nothing of loading; `triton` says which model has which stubs, and hears of their end.

A stub shares robust locks with the server. Killed while it holds one, it takes the whole server along: there the next
to lock gets an error that nobody catches. So one that is to be killed is first stopped where it holds none.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import platform
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from overbook.agent.servers.launched.process import tree_memory
from overbook.agent.servers.protocol import ProcessMemory

_PROGRAM: Final = "triton_python_backend_stub"
_SEGMENTS: Final = Path("/dev/shm")
_LOOK_SECONDS: Final = 0.001
_LONGEST_PAUSE_SECONDS: Final = 0.02
# Calls in which a thread only waits, by their numbers in asm/unistd.h: the locks are never held across one of these.
# futex, nanosleep, clock_nanosleep, poll, ppoll, select, pselect6, epoll_wait, epoll_pwait, read, accept, accept4,
# recvfrom, recvmsg, wait4, waitid, rt_sigtimedwait, and restart_syscall: one of them, gone on with after a stop.
_WAITING: Final[frozenset[int]] = {
    "x86_64": frozenset(
        {202, 35, 230, 7, 271, 23, 270, 232, 281, 0, 43, 288, 45, 47, 61, 247, 128, 219}
    ),
    "aarch64": frozenset({98, 101, 115, 73, 72, 22, 63, 202, 242, 207, 212, 260, 95, 137, 128}),
}.get(platform.machine(), frozenset())


@dataclass(frozen=True, slots=True)
class Stub:
    """``segment``: the name of the shared memory through which the server speaks to it."""

    pid: int
    segment: str


def find(server: int, repository: str, model: str) -> frozenset[Stub]:
    """The running stubs of a model. Blocks for some milliseconds: it looks at all processes."""
    prefix = f"{repository}/{model}/"
    try:
        children = psutil.Process(server).children()
    except psutil.NoSuchProcess:
        return frozenset()
    found = set()
    for child in children:
        try:
            command = child.cmdline()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
        # program, file of the model, segment, ... Between fork and exec it is still the server's own.
        if len(command) > 2 and _PROGRAM in command[0] and command[1].startswith(prefix):
            found.add(Stub(child.pid, command[2]))
    return frozenset(found)


def kill(stubs: Iterable[Stub]) -> None:
    _signal(stubs, signal.SIGKILL)


def halt(stubs: Iterable[Stub], *, work: float, patience: float) -> bool:
    """Stop them where every thread only waits.

    False, and they go on, when they did so much ``work`` meanwhile, in seconds of the processor, or so many seconds
    passed: they have much to do, or are given no time to end what they do. Blocks, usually for less than a millisecond.
    """
    stubs = list(stubs)
    end, done = time.monotonic() + patience, _worked(stubs)
    pause = _LOOK_SECONDS
    while True:
        # Not stopped before: on a busy machine that takes time in which it could have come to an end.
        if all(_all_threads(stub.pid, "ST") for stub in stubs):
            _signal(stubs, signal.SIGSTOP)
            while not (stopped := all(_all_threads(stub.pid, "T") for stub in stubs)):
                if time.monotonic() >= end:
                    break
                time.sleep(_LOOK_SECONDS)
            try:
                if stopped and all(_only_waits(stub.pid) for stub in stubs):
                    return True
            except PermissionError:
                end = 0.0  # the kernel does not tell, and will not later
            resume(stubs)
        if time.monotonic() >= end or _worked(stubs) - done >= work:
            return False
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def resume(stubs: Iterable[Stub]) -> None:
    """Let halted ones go on."""
    _signal(stubs, signal.SIGCONT)


def remove_segments(stubs: Iterable[Stub]) -> None:
    """The shared memory of stubs that are gone. The server leaves that of killed ones behind."""
    for stub in stubs:
        (_SEGMENTS / stub.segment).unlink(missing_ok=True)


def close_to_others(prefix: str) -> None:
    """Nobody but this user may look into the shared memory of this server: it is made readable for everybody, whatever
    the process' umask, and requests' tensors pass through it. Blocks, briefly.
    """
    for path in _SEGMENTS.glob(f"{prefix}*"):
        with contextlib.suppress(FileNotFoundError):
            path.chmod(0o600)


def remove_left(prefix: str) -> None:
    """The shared memory that a server which is gone left behind, all of it. Blocks, briefly."""
    for path in _SEGMENTS.glob(f"{prefix}*"):
        path.unlink(missing_ok=True)


def memory(stubs: Iterable[Stub]) -> ProcessMemory:
    """Of the stubs and what they started: what is given back when they end, libraries left out. Blocks."""
    parts = [tree_memory(stub.pid, libraries=False) for stub in stubs]
    return ProcessMemory(
        bytes=sum(part.bytes for part in parts), processes=sum(part.processes for part in parts)
    )


async def ended(stubs: Iterable[Stub]) -> None:
    """Wait until all are gone. A zombie is gone: its memory is back."""
    for stub in stubs:
        over = asyncio.Event()
        stop = _on_end(stub, over.set)
        try:
            await over.wait()
        finally:
            stop()


class StubWatch:
    """Which stubs each loaded model has. ``lost`` is called once for a model when the first of them ends."""

    def __init__(self, lost: Callable[[str], None]) -> None:
        self._lost = lost
        self._stubs: dict[str, frozenset[Stub]] = {}
        self._stops: dict[str, list[Callable[[], None]]] = {}

    def of(self, model: str) -> frozenset[Stub]:
        return self._stubs.get(model, frozenset())

    def add(self, model: str, stubs: frozenset[Stub]) -> None:
        """Watch them; one that is gone already counts as ending now."""
        self.take(model)
        self._stubs[model] = stubs
        self._stops[model] = [_on_end(stub, lambda: self._ended(model)) for stub in stubs]

    def take(self, model: str) -> frozenset[Stub]:
        """Watch them no longer: their end is intended. Returns them."""
        for stop in self._stops.pop(model, ()):
            stop()
        return self._stubs.pop(model, frozenset())

    def clear(self) -> None:
        for model in list(self._stubs):
            self.take(model)

    def _ended(self, model: str) -> None:
        for stop in self._stops.pop(model, ()):
            stop()
        self._lost(model)


def _signal(stubs: Iterable[Stub], number: signal.Signals) -> None:
    for stub in stubs:
        with contextlib.suppress(ProcessLookupError):
            os.kill(stub.pid, number)


def _worked(stubs: Iterable[Stub]) -> float:
    """Seconds of the processor that they used so far."""
    total = 0.0
    for stub in stubs:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = psutil.Process(stub.pid).cpu_times()
            total += times.user + times.system
    return total


def _all_threads(pid: int, states: str) -> bool:
    """Whether each thread is in one of these states. True also of a process that is gone."""
    return all(state in states for _, state in _threads(pid))


def _only_waits(pid: int) -> bool:
    """Whether each thread of a stopped process was stopped in a call that waits; outside of any it says -1.

    Raises PermissionError where the kernel does not tell.
    """
    calls = [_read(thread / "syscall").partition(" ")[0] for thread, _ in _threads(pid)]
    return all(call.isdecimal() and int(call) in _WAITING for call in calls)


def _threads(pid: int) -> list[tuple[Path, str]]:
    """Those that have not ended, with their states, one letter each."""
    with contextlib.suppress(FileNotFoundError):
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        states = [_read(each / "stat").rpartition(")")[2].split() for each in threads]
        return [
            (thread, state[0])
            for thread, state in zip(threads, states, strict=True)
            if state and state[0] not in "ZX"
        ]
    return []


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _on_end(stub: Stub, call: Callable[[], object]) -> Callable[[], None]:
    """Call once, in a later turn of the loop, when the process is gone. Returns what stops that."""
    loop = asyncio.get_running_loop()
    try:
        descriptor = os.pidfd_open(stub.pid)
    except ProcessLookupError:
        return loop.call_soon(call).cancel

    stopped = False

    def stop() -> None:
        nonlocal stopped
        if not stopped:
            stopped = True
            loop.remove_reader(descriptor)
            os.close(descriptor)

    def readable() -> None:
        stop()
        call()

    loop.add_reader(descriptor, readable)
    return stop
