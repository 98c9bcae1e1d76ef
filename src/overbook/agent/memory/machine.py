"""How much memory there is, and how much is left: of this machine, and of the control group a process lives in.

Only reads. A file that is not there means that nothing bounds it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_GROUPS: Final = Path("/sys/fs/cgroup")
# Version 1 says "no limit" with a number of about this size.
_NO_LIMIT: Final = 1 << 60


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes: all that a process may ever have, and what it could still get without anybody being killed."""

    total: int
    available: int


def room_for(pid: int, *, proc: Path = _PROC, groups: Path = _GROUPS) -> Room | None:
    """The tightest of the machine's memory and of the process' control groups; None where neither is told."""
    found = [_machine(proc), *_groups(pid, proc, groups)]
    rooms = [room for room in found if room is not None]
    if not rooms:
        return None
    return Room(min(room.total for room in rooms), min(room.available for room in rooms))


def _machine(proc: Path) -> Room | None:
    numbers = _numbers(proc / "meminfo", ":")
    if "MemTotal" not in numbers or "MemAvailable" not in numbers:
        return None
    return Room(numbers["MemTotal"] * 1024, numbers["MemAvailable"] * 1024)


def _groups(pid: int, proc: Path, groups: Path) -> list[Room]:
    try:
        lines = (proc / str(pid) / "cgroup").read_text().splitlines()
    except OSError:
        return []
    found: list[Room] = []
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0":
            found += _bounded(groups, path, "memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            found += _bounded(groups / "memory", path, *names)
    return found


def _bounded(root: Path, path: str, limit: str, usage: str, cache: str) -> list[Room]:
    """Of a group and all above it: the tightest counts, so all are looked at."""
    found: list[Room] = []
    group = root / path.lstrip("/")
    while True:
        most, used = _number(group / limit), _number(group / usage)
        if most is not None and used is not None and most < _NO_LIMIT:
            # Pages of files that nobody used lately are given up before anything is killed.
            idle = _numbers(group / "memory.stat", " ").get(cache, 0)
            found.append(Room(most, max(0, most - used + idle)))
        if group == root:
            return found
        group = group.parent


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None  # not there, or "max"


def _numbers(path: Path, separator: str) -> dict[str, int]:
    try:
        text = path.read_text()
    except OSError:
        return {}
    found: dict[str, int] = {}
    for line in text.splitlines():
        name, _, rest = line.partition(separator)
        fields = rest.split()
        if fields and fields[0].isdigit():
            found[name] = int(fields[0])
    return found
