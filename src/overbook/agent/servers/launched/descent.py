"""What descends from a child process, so that it ends with it: also what has left its group, session and parents.

Two ways lead to such a process. It has the mark in its environment, which it inherits unless it starts a program with
another one; and it was seen among the children of the child, or of one of those, by somebody who looked now and then.
Only what does both at once between two looks, a program with an environment of its own whose parents are gone,
is not found. No reaper of orphans is needed for this, which would have to be this process, for everybody's.
"""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path
from typing import Final

import psutil

# The name of the mark in the environment.
MARK: Final = "OVERBOOK_SERVER_MARK"
_ROUNDS: Final = 5
_GONE_SECONDS: Final = 2.0
_POLL_SECONDS: Final = 0.005


class Descent:
    """Of one child. ``mark``: the value of the variable `MARK` in its environment; empty: none."""

    def __init__(self, mark: str) -> None:
        self.mark = mark
        self._seen: dict[tuple[int, float], psutil.Process] = {}

    @staticmethod
    def fresh() -> Descent:
        """Of a child that is about to be started."""
        return Descent(secrets.token_hex(16))

    def look(self, pid: int) -> None:
        """Take note of its descendants. Blocks, for some milliseconds."""
        seen = _below(pid)
        # Those that lost their parents, and what they started. Seldom any: each costs a look at all processes.
        for key, each in self._seen.items():
            if key not in seen and each.is_running():
                seen |= {key: each} | _below(each.pid)
        self._seen = seen

    def end(self) -> None:
        """Kill what is left of them, and wait until it is gone. Blocks, for some milliseconds when nothing is left."""
        for _ in range(_ROUNDS):
            left = [*self._alive(), *self._marked()]
            if not left:
                return
            for each in left:
                try:
                    each.kill()
                except psutil.Error:
                    continue  # it is gone, or is not ours to end
            deadline = time.monotonic() + _GONE_SECONDS
            # One that nobody reaps is gone as well.
            while any(_lives(each) for each in left) and time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)

    def _alive(self) -> list[psutil.Process]:
        """Those that were seen, and what they have started since."""
        found = {}
        for each in self._seen.values():
            try:
                for one in (each, *each.children(recursive=True)):
                    if _lives(one):
                        found[_identity(one)] = one
            except psutil.Error:
                continue
        return list(found.values())

    def _marked(self) -> list[psutil.Process]:
        if not self.mark:
            return []
        wanted = f"{MARK}={self.mark}".encode()
        return [process for pid in psutil.pids() if (process := _with(pid, wanted)) is not None]


def _below(pid: int) -> dict[tuple[int, float], psutil.Process]:
    try:
        return {_identity(each): each for each in psutil.Process(pid).children(recursive=True)}
    except psutil.NoSuchProcess:
        return {}


def _identity(process: psutil.Process) -> tuple[int, float]:
    """A number may be used again; with its time of birth it is not."""
    try:
        return process.pid, process.create_time()
    except psutil.NoSuchProcess:
        return process.pid, 0.0


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _with(pid: int, variable: bytes) -> psutil.Process | None:
    """The process if it is alive and started with this variable; None also when that may not be known."""
    if pid == os.getpid():
        return None
    try:
        if variable not in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            return None
        process = psutil.Process(pid)
        return process if _lives(process) else None
    except (OSError, psutil.Error):
        return None
