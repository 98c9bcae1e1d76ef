"""Who uses an environment: what somebody serves from must not be taken away.

An agent holds the environment of its server for as long as it runs, also while no process of it does; processes whose
agent was killed are seen by their programs.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from overbook.runtimes.installer import COMPLETE


@contextmanager
def held(root: Path) -> Iterator[None]:
    """Whoever asks `is_held` meanwhile hears of it; the kernel forgets it when the holder dies. Raises OSError."""
    with (root / COMPLETE).open("rb") as marker:
        fcntl.flock(marker, fcntl.LOCK_SH)
        yield


def is_held(root: Path) -> bool:
    """Whether somebody holds the environment. One that is not whole is nobody's."""
    try:
        with (root / COMPLETE).open("rb") as marker:
            fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def process_in(folder: Path) -> psutil.Process | None:
    """A process whose program lies below the folder, as far as this user may see; None: there is none."""
    inside = f"{folder}/"
    for process in psutil.process_iter(["exe", "cmdline"]):
        # An environment's Python is a link: only the command line tells where it was called.
        program, *_ = process.info["cmdline"] or [""]
        if program.startswith(inside) or (process.info["exe"] or "").startswith(inside):
            return process
    return None
