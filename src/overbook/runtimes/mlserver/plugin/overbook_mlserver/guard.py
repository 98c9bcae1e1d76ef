"""Watches over this process: it ends with its agent, and its log stays bounded. Standard library only.

Why a pipe and not PR_SET_PDEATHSIG: that signal is tied to the *thread* that forked us and is lost on
exec of a set-uid program; the end of a pipe that only the agent holds is neither.
"""

from __future__ import annotations

import os
import shutil
import signal
import stat
import sys
import threading
import time

_STOP_SECONDS = 5.0
_LOG_CHECK_SECONDS = 10.0


def exit_with_parent(fd: int) -> None:
    """End this process (politely, then at once) when the other end of the pipe ``fd`` is closed."""

    def watch() -> None:
        while True:
            try:
                if os.read(fd, 1) == b"":
                    break
            except InterruptedError:
                continue
            except OSError:
                break
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_STOP_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name="parent-guard", daemon=True).start()


def bound_log(limit: int) -> None:
    """Keep the file behind standard output below about ``limit`` bytes; the older half moves to ``.1``.

    The file was opened for appending by the agent, so cutting it here is safe: the next line starts
    at its new end. Does nothing when standard output is no regular file.
    """
    descriptor = sys.stdout.fileno()
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return

    def watch() -> None:
        while True:
            time.sleep(_LOG_CHECK_SECONDS)
            try:
                if os.fstat(descriptor).st_size > limit:
                    path = os.readlink(f"/proc/self/fd/{descriptor}")
                    shutil.copyfile(path, path + ".1")
                    os.ftruncate(descriptor, 0)
            except OSError as error:
                print(f"cannot cut the log: {error}", file=sys.stderr)

    threading.Thread(target=watch, name="log-guard", daemon=True).start()
