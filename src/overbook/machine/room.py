"""How much memory this machine, or the control group that it gave us, has for everything."""

from __future__ import annotations

import os

import psutil

from overbook.agent.memory.machine import room_for


def machine_bytes() -> int:
    room = room_for(os.getpid())
    return int(psutil.virtual_memory().total) if room is None else room.total
