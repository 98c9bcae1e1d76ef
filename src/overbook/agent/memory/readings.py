"""How large a process tree is: exact and dear from smaps, or at once from statm. Linux; elsewhere resident size.

Counted is *anonymous* memory, shared pages by their share: what only this tree holds and what the kernel cannot
drop. Pages of files come and go with the kernel's cache and are no cost of a model. No judgement may live here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import psutil

_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_PROC: Final = Path("/proc")
# More than seven numbers take.
_STATM_BYTES: Final = 256


@dataclass(frozen=True, slots=True)
class Reading:
    """Bytes of one process tree. ``held``: anonymous, by share. ``total``: with the pages of files."""

    held: int
    total: int
    processes: int


class Probe(Protocol):
    """Reads the tree of the inference server as it runs now; None: there is none that can be read."""

    def quick(self) -> int | None:
        """About what `read` would say is held, in microseconds; pages that processes share count for each."""
        ...

    async def read(self) -> Reading | None:
        """Exact; walks all processes (milliseconds)."""
        ...

    def peak(self) -> int | None:
        """The most that was held since the last call, as far as the kernel keeps it."""
        ...


def read_tree(pid: int) -> tuple[Reading, tuple[int, ...]] | None:
    """A process and its descendants, exactly, and their numbers. Blocks for milliseconds.

    None when it is gone, or cannot be read now: this process may have no file descriptor left.
    """
    try:
        root = psutil.Process(pid)
        members = [root, *root.children(recursive=True)]
    except (psutil.NoSuchProcess, OSError):
        return None
    held = total = 0
    alive: list[int] = []
    for member in members:
        try:
            one = _read_process(member)
        except (psutil.NoSuchProcess, ProcessLookupError, FileNotFoundError):
            continue
        except OSError:
            return None
        held, total = held + one[0], total + one[1]
        alive.append(member.pid)
    if pid not in alive:
        return None  # a zombie: it has ended, and who started it has not asked yet
    return Reading(held, total, len(alive)), tuple(alive)


def _read_process(process: psutil.Process) -> tuple[int, int]:
    """Held and total of one process. Raises when it is gone."""
    try:
        text = (_PROC / str(process.pid) / "smaps_rollup").read_text()
    except (PermissionError, NotADirectoryError):
        resident = int(process.memory_info().rss)
        return resident, resident
    found: dict[str, int] = {}
    for line in text.splitlines()[1:]:
        name, _, rest = line.partition(":")
        found[name] = int(rest.split()[0]) * 1024
    total = found.get("Pss", 0)
    # Kernels before 5.4 do not split the share by kind.
    held = found.get("Pss_Anon", found.get("Private_Dirty", total)) + found.get("Pss_Shmem", 0)
    return held, total


def quick_size(pid: int) -> int | None:
    """Anonymous resident bytes of one process; None when it is gone or cannot be read. Microseconds."""
    try:
        # Several times for each load and unload: without the layers of a file object.
        file = os.open(f"/proc/{pid}/statm", os.O_RDONLY)
        try:
            fields = os.read(file, _STATM_BYTES).split()
        finally:
            os.close(file)
    except OSError:
        return None
    return (int(fields[1]) - int(fields[2])) * _PAGE


def take_peak(pid: int) -> int | None:
    """The most that a process held since the last call, about; None: the kernel does not tell."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            of_files = int(file.read().split()[2]) * _PAGE
        with open(f"/proc/{pid}/status", "rb") as file:
            peak = next(int(line.split()[1]) for line in file if line.startswith(b"VmHWM:")) * 1024
        with open(f"/proc/{pid}/clear_refs", "wb") as file:
            file.write(b"5")  # begin anew; touches nothing else
    except (OSError, StopIteration):
        return None
    return max(0, peak - of_files)
