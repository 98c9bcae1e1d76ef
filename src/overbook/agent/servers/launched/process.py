"""A child process as an inference server needs it: own group, own log, no orphan, a clean end.

Knows nothing of models or of which server runs in it. Where the child runs Overbook's launcher, the
pipe `PARENT_FD_FLAG` names makes it end with this process, however this process ends; the record file
lets the next start find what a crash left all the same.

What the child starts ends with it (see `descent`), also what has left its group: it may hold the server's ports.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from overbook.agent.servers.launched.descent import MARK, Descent
from overbook.agent.servers.launched.temporary import made_temporary, remove_temporary
from overbook.agent.servers.protocol import ProcessMemory, ServerStartFailed

PARENT_FD_FLAG: Final = "--parent-fd"
SHARED_FD_FLAG: Final = "--shared-fd"
# What it makes is for this user alone: files, sockets, shared memory.
PRIVATE: Final = 0o077
_TAIL_BYTES: Final = 16 * 1024
_TAIL_LINES: Final = 5
_KILLED_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.01
_LIBRARY: Final = re.compile(r"\.so(\.[\w.-]+)?$")


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """What to run. ``folder`` is the working directory, of this child alone. ``shared``: bytes of memory that the child
    writes to and this process reads, also after the child's end; it gets them as `SHARED_FD_FLAG` says. 0 for none.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    log: Path
    record: Path
    shared: int = 0


class ServerProcess:
    """At most one child at a time; `start` may be called again after it ended, also with another ``spec``."""

    def __init__(self, spec: ProcessSpec) -> None:
        self.spec = spec
        self._process: asyncio.subprocess.Process | None = None
        self._pipe: int | None = None
        self._shared: int | None = None
        self._descent = Descent("")

    @property
    def pid(self) -> int | None:
        """Of the running child; None before and after."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    @property
    def exit_code(self) -> int | None:
        return self._process.returncode if self._process is not None else None

    @property
    def shared(self) -> bytes:
        """What the child wrote to the memory that it shares, alive or not; nothing before the first start."""
        return b"" if self._shared is None else os.pread(self._shared, self.spec.shared, 0)

    async def start(self) -> None:
        """Start the child. One that is left from an earlier run is ended first. Raises ServerStartFailed."""
        if self.pid is not None:
            raise ServerStartFailed(f"process {self.pid} is already running; stop it first")
        await asyncio.to_thread(end_recorded, self.spec.record)
        log = _opened(self.spec.folder, self.spec.log)
        temporary = await asyncio.to_thread(made_temporary, self.spec.folder)
        readable, self._pipe = os.pipe()
        self._descent = Descent.fresh()
        passed = [readable]
        shares: list[str] = []
        try:
            if (shared := self._fresh_memory()) is not None:
                passed.append(shared)
                shares = [SHARED_FD_FLAG, str(shared)]
            self._process = await asyncio.create_subprocess_exec(
                *self.spec.command,
                *(PARENT_FD_FLAG, str(readable)),
                *shares,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.spec.folder,
                env={**self.spec.environment, **temporary, MARK: self._descent.mark},
                pass_fds=passed,
                start_new_session=True,
                umask=PRIVATE,
            )
        except OSError as error:
            self._close_pipe()
            raise ServerStartFailed(f"cannot run {self.spec.command[0]}: {error}") from error
        finally:
            os.close(readable)
            os.close(log)
        try:
            _record(self.spec.record, self._process.pid, self._descent.mark)
        except OSError as error:
            # A child that is written down nowhere would outlive a crash of ours.
            await self.stop(grace=0)
            raise ServerStartFailed(f"cannot write {self.spec.record}: {error}") from error

    async def wait_exit(self) -> int:
        """Wait for the child's end and sweep up after it; its exit code (negative: the signal)."""
        process = self._process
        if process is None:
            raise RuntimeError("wait_exit() before start()")
        code = await process.wait()
        await self._sweep(process.pid)
        return code

    async def look(self) -> None:
        """Take note of what the child has started, as that may hide from whoever looks after its end."""
        if (pid := self.pid) is not None:
            await asyncio.to_thread(self._descent.look, pid)

    async def stop(self, *, grace: float) -> None:
        """Ask the child to end, kill its group after ``grace`` seconds. Idempotent."""
        process = self._process
        if process is None:
            return
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), grace)
            except TimeoutError:
                _kill_group(process.pid)
                await asyncio.wait_for(process.wait(), _KILLED_SECONDS)
        await self._sweep(process.pid)

    def log_tail(self) -> str:
        """The last lines of the log, in one line, for messages."""
        return tail(self.spec.log)

    async def memory(self) -> ProcessMemory:
        """Of the child and its children; zero when it is not running."""
        pid = self.pid
        if pid is None:
            return ProcessMemory(bytes=0, processes=0)
        return await asyncio.to_thread(tree_memory, pid)

    async def _sweep(self, pid: int) -> None:
        """Once per child: later its number may belong to somebody else."""
        if self._pipe is None:
            return
        _kill_group(pid)
        self._close_pipe()
        await asyncio.to_thread(self._descent.end)
        await asyncio.to_thread(remove_temporary, self.spec.folder)
        self.spec.record.unlink(missing_ok=True)

    def forget(self) -> None:
        """What an earlier child shared is not wanted any more."""
        if self._shared is not None:
            os.close(self._shared)
            self._shared = None

    def _fresh_memory(self) -> int | None:
        """New for each child: what an earlier one has started may still write to its own. Raises OSError.

        It is no file on a disk: who writes there waits whenever the kernel writes that page out.
        """
        self.forget()
        if self.spec.shared:
            self._shared = os.memfd_create("overbook", os.MFD_CLOEXEC)
            # All of it now: a page for which there is no memory later ends the process that touches it.
            os.posix_fallocate(self._shared, 0, self.spec.shared)
        return self._shared

    def _close_pipe(self) -> None:
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None


def tree_memory(pid: int, *, libraries: bool = True) -> ProcessMemory:
    """Proportional set size of a process and its descendants, resident size where that is not told.

    ``libraries``: False leaves out what is in memory of shared libraries as it is on the disk. That is there once for
    all processes together, whoever ends, and the kernel drops it when memory runs short; with it, the first process
    of several seems to take all of it (200 MB with TensorFlow's).
    """
    total, count = 0, 0
    try:
        root = psutil.Process(pid)
        members = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return ProcessMemory(bytes=0, processes=0)
    for member in members:
        try:
            total += _memory_of(member) if libraries else _memory_without_libraries(member)
            count += 1
        except psutil.NoSuchProcess:
            continue
    return ProcessMemory(bytes=total, processes=count)


def _memory_of(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except (psutil.AccessDenied, AttributeError):
        return int(process.memory_info().rss)


def _memory_without_libraries(process: psutil.Process) -> int:
    try:
        mappings = process.memory_maps()
    except (psutil.AccessDenied, AttributeError):
        return _memory_of(process)
    return sum(each.private_dirty if _LIBRARY.search(each.path) else each.pss for each in mappings)


def end_recorded(record: Path) -> None:
    """Kill the process that an earlier run wrote down, if it is still the same one. Blocks, briefly."""
    try:
        entry = json.loads(record.read_text(encoding="utf-8"))
        pid, created = int(entry["pid"]), float(entry["created"])
        mark = str(entry.get("mark", ""))
    except (OSError, ValueError, KeyError, TypeError):
        return
    try:
        process = psutil.Process(pid)
        # A number may be used again by somebody else; its time of birth may not.
        if abs(process.create_time() - created) < 0.05:
            _kill_group(pid)
            _wait_gone(process)
    except psutil.NoSuchProcess:
        pass
    Descent(mark).end()
    record.unlink(missing_ok=True)


def _wait_gone(process: psutil.Process) -> None:
    """Wait without reaping: should it be a child of this very process, its exit code is another's to read."""
    deadline = time.monotonic() + _KILLED_SECONDS
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
        if time.monotonic() > deadline:
            return
        time.sleep(_POLL_SECONDS)


def tail(log: Path) -> str:
    """The last few non-empty lines of a file, joined into one."""
    try:
        with open(log, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            text = file.read().decode("utf-8", "replace")
    except OSError as error:
        return f"(no log: {error})"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " | ".join(lines[-_TAIL_LINES:]) or "(its log is empty)"


def _record(path: Path, pid: int, mark: str) -> None:
    try:
        created = psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(
        json.dumps({"pid": pid, "created": created, "mark": mark}), encoding="utf-8"
    )
    temporary.replace(path)


def _kill_group(pid: int) -> None:
    # The child leads its own session and group, so the group's number is the child's.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _opened(folder: Path, log: Path) -> int:
    """A descriptor of the log, to append to; the folder is there. Raises ServerStartFailed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        log.parent.mkdir(parents=True, exist_ok=True)
        return os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise ServerStartFailed(
            f"cannot write {log}: {error}; make room, or remove what is in its place"
        ) from error
