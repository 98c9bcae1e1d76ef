"""What the kernel says about a thread that works in a long slice."""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import threading

import pytest

from tests.unit.runtimes.plugins import plugin_module

SLICES = plugin_module("mlserver", "overbook_mlserver/scheduler_slice.py")
_GET_ATTRIBUTES = {"x86_64": 315, "aarch64": 275}
_ATTRIBUTES = struct.Struct("=IIQiIQQQ")


def slice_and_nice() -> tuple[int, int]:
    """Nanoseconds and niceness of the calling thread."""
    room = ctypes.create_string_buffer(_ATTRIBUTES.size)
    asked = ctypes.CDLL(None).syscall(
        _GET_ATTRIBUTES[platform.machine()], 0, room, _ATTRIBUTES.size, 0
    )
    assert asked == 0
    _, _, _, nice, _, runtime, _, _ = _ATTRIBUTES.unpack(room.raw)
    return runtime, nice


def test_the_thread_has_a_long_slice_inside_and_its_usual_one_after() -> None:
    seen = []

    def work() -> None:
        os.setpriority(os.PRIO_PROCESS, 0, 7)  # of this thread only
        seen.append(slice_and_nice())
        with pytest.raises(ValueError, match="broken"):
            fail_in_a_long_slice()
        seen.append(slice_and_nice())

    def fail_in_a_long_slice() -> None:
        with SLICES.long_slice():
            seen.append(slice_and_nice())
            raise ValueError("broken")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    before, inside, after = seen
    assert before == after
    assert {nice for _, nice in seen} == {7}
    if tuple(map(int, platform.release().split(".")[:2])) >= (6, 12):
        assert inside[0] == 100_000_000 > before[0]


def test_a_thread_of_another_policy_keeps_it() -> None:
    seen = []

    def work() -> None:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        with SLICES.long_slice():
            seen.append(os.sched_getscheduler(0))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [os.SCHED_IDLE]
