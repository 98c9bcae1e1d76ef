"""Watches over this process: it ends with its agent, and gets no more rights. Standard library only.

Why a pipe and not PR_SET_PDEATHSIG: that signal is tied to the *thread* that forked us and is lost on
exec of a set-uid program; the end of a pipe that only the agent holds is neither.
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time

_STOP_SECONDS = 5.0
# In linux/prctl.h.
_PR_SET_NO_NEW_PRIVS = 38


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


def no_new_privileges() -> None:
    """Nothing that this process or its children start gets more rights than it has: bits for that on programs, as
    sudo's, have no effect.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        error = ctypes.get_errno()
        raise OSError(error, f"prctl(PR_SET_NO_NEW_PRIVS): {os.strerror(error)}")
