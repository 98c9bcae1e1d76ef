"""A small process beside tritonserver: the server ends with its agent, and its log stays bounded.

Forked before the launcher becomes tritonserver, so the two share a process group and the server is its parent.
The agent holds the other end of a pipe: however the agent ends, the pipe closes. (PR_SET_PDEATHSIG would be tied to
the thread of the agent that forked, and stubs, which are the server's children, would not have it.)
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import stat
import sys

from overbook_triton import layout

_LOG_CHECK_SECONDS = 10.0


def fork(*, parent_fd: int, segments: str, seconds: float, log_limit: int) -> None:
    """Start the guard of the calling process; returns in the caller."""
    server = os.getpid()
    # Made here, where the number is certain to be ours.
    ended = os.pidfd_open(server)
    if os.fork() == 0:
        status = 1
        try:
            _watch(parent_fd, ended, log_limit)
            _end(server, ended, segments, seconds)
            status = 0
        finally:
            os._exit(status)
    os.close(ended)
    os.close(parent_fd)


def _watch(parent_fd: int, ended: int, log_limit: int) -> None:
    """Until the agent or the server is gone."""
    poll = select.poll()
    poll.register(parent_fd, select.POLLIN | select.POLLHUP)
    poll.register(ended, select.POLLIN)
    while not poll.poll(_LOG_CHECK_SECONDS * 1000):
        _bound_log(log_limit)


def _end(server: int, ended: int, segments: str, seconds: float) -> None:
    """End the server politely, then its whole group, this process included."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(ended, signal.SIGTERM)
    poll = select.poll()
    poll.register(ended, select.POLLIN)
    poll.poll(seconds * 1000)
    layout.remove_segments(segments)
    os.killpg(server, signal.SIGKILL)


def _bound_log(limit: int) -> None:
    """Keep the file behind standard output below about ``limit`` bytes; the older half moves to ``.1``.

    The agent opened it for appending, so cutting it is safe: the next line starts at its new end.
    """
    descriptor = sys.stdout.fileno()
    state = os.fstat(descriptor)
    if not stat.S_ISREG(state.st_mode) or state.st_size <= limit:
        return
    try:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        shutil.copyfile(path, path + ".1")
        os.ftruncate(descriptor, 0)
    except OSError as error:
        print(f"cannot cut the log: {error}", file=sys.stderr)
