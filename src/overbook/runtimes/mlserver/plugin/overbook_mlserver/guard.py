"""Watches over this process: it ends with its agent. Standard library only.

Why a pipe and not PR_SET_PDEATHSIG: that signal is tied to the *thread* that forked us and is lost on
exec of a set-uid program; the end of a pipe that only the agent holds is neither.
"""

from __future__ import annotations

import os
import signal
import threading
import time

_STOP_SECONDS = 5.0


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
