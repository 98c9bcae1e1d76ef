"""A small process beside tritonserver: the server ends with its agent. And the server gets no more rights.

Forked before the launcher becomes tritonserver, so the two share a process group and the server is its parent.
The agent holds the other end of a pipe: however the agent ends, the pipe closes. (PR_SET_PDEATHSIG would be tied to
the thread of the agent that forked, and stubs, which are the server's children, would not have it.)
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal

from overbook_triton import layout

# In linux/prctl.h.
_PR_SET_NO_NEW_PRIVS = 38


def fork(*, parent_fd: int, segments: str, seconds: float) -> None:
    """Start the guard of the calling process; returns in the caller."""
    server = os.getpid()
    # Made here, where the number is certain to be ours.
    ended = os.pidfd_open(server)
    if os.fork() == 0:
        status = 1
        try:
            _watch(parent_fd, ended)
            _end(server, ended, segments, seconds)
            status = 0
        finally:
            os._exit(status)
    os.close(ended)
    os.close(parent_fd)


def _watch(parent_fd: int, ended: int) -> None:
    """Until the agent or the server is gone."""
    poll = select.poll()
    poll.register(parent_fd, select.POLLIN | select.POLLHUP)
    poll.register(ended, select.POLLIN)
    poll.poll()


def _end(server: int, ended: int, segments: str, seconds: float) -> None:
    """End the server politely, then its whole group, this process included."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(ended, signal.SIGTERM)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.poll(seconds * 1000)
    layout.remove_segments(segments)
    os.killpg(server, signal.SIGKILL)


def no_new_privileges() -> None:
    """Nothing that this process or its children start gets more rights than it has: bits for that on programs, as
    sudo's, have no effect.
    """
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        error = ctypes.get_errno()
        raise OSError(error, f"prctl(PR_SET_NO_NEW_PRIVS): {os.strerror(error)}")
