"""Has long work give way to whoever wakes up, within its fair share of the processor. Imports nothing of MLServer.

A thread that computes without pause keeps its core until the next tick, 4 ms at 250 Hz, though a request for another
server waits for the core. One that asks the scheduler for a long slice is interrupted at once by those with shorter
ones that had less than their share, and gets as much of the processor as before; with a lower priority it would get
less, and whoever waits for the interpreter lock that it holds would wait with it. Linux does so from 6.12 on
(sched_setattr(2), EEVDF), others ignore it.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Iterator
from contextlib import contextmanager

_LONGEST_NANOSECONDS = 100_000_000
_USUAL = 0
# struct sched_attr: size, policy, flags, nice, priority, runtime (the slice), deadline, period.
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")
_SET_ATTRIBUTES = {"x86_64": 314, "aarch64": 274}.get(platform.machine())
_libc = ctypes.CDLL(None)


@contextmanager
def long_slice() -> Iterator[None]:
    """For what this thread does inside. A thread that it starts meanwhile keeps the long slice."""
    _ask_for(_LONGEST_NANOSECONDS)
    try:
        yield
    finally:
        _ask_for(_USUAL)


def _ask_for(nanoseconds: int) -> None:
    policy = os.sched_getscheduler(0)
    if _SET_ATTRIBUTES is None or policy not in (os.SCHED_OTHER, os.SCHED_BATCH):
        return
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    attributes = _ATTRIBUTES.pack(_ATTRIBUTES.size, policy, 0, nice, 0, nanoseconds, 0, 0)
    # Where it is forbidden, all stays as it is.
    _libc.syscall(_SET_ATTRIBUTES, 0, attributes, 0)
