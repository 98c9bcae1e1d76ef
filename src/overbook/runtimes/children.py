"""Child processes of installations: each ends with all that it started, as soon as its own work or this process ends.

uv starts compilers, interpreters and the builds of packages, which would go on for themselves after a `kill -9`. So a
minder stands between: a little Python program that runs the command in a group of its own, and kills that group when
the command has ended, or when the pipe from this process closes, however that happens. What leaves the group, as a
daemon does, is not found.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

# With few imports, as it is started for every command. The kernel ends the command where the minder itself is killed.
_MINDER: Final = """
import _thread, ctypes, os, signal, sys
pipe, command = int(sys.argv[1]), sys.argv[2:]
os.set_inheritable(pipe, False)
minder = os.getpid()
child = os.fork()
if child == 0:
    os.setpgid(0, 0)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    try:
        if os.getppid() == minder:
            os.execv(command[0], command)
    except OSError as error:
        print(f"cannot run {command[0]}: {error.strerror}", file=sys.stderr)
    os._exit(127)
try:
    os.setpgid(child, child)
except OSError:
    pass

def end():
    try:
        os.killpg(child, signal.SIGKILL)
    except OSError:
        pass

def watch():
    os.read(pipe, 1)
    end()

_thread.start_new_thread(watch, ())
os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
end()
status = os.waitpid(child, 0)[1]
os._exit(os.waitstatus_to_exitcode(status) & 255 if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))
"""


class Child:
    """Of `started`. ``process``: its minder, whose exit code is the command's, or 128 and the signal that ended it."""

    def __init__(self, process: subprocess.Popen[str], pipe: int) -> None:
        self.process = process
        self._pipe: int | None = pipe
        self._lock = threading.Lock()

    def end(self) -> None:
        """Kill the command with all that it started. Idempotent, from any thread; does not wait."""
        with self._lock:
            if self._pipe is not None:
                os.close(self._pipe)
                self._pipe = None


@contextlib.contextmanager
def started(
    command: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Iterator[Child]:
    """A child whose standard error is to be read; ended at the end. Raises OSError."""
    readable, writable = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _MINDER, str(readable), *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=env,
            cwd=cwd,
            pass_fds=(readable,),
            # A Ctrl-C in the terminal is for us: we end it.
            start_new_session=True,
        )
    except BaseException:
        os.close(writable)
        raise
    finally:
        os.close(readable)
    child = Child(process, writable)
    with process:
        try:
            yield child
        finally:
            child.end()
