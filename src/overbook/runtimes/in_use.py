"""Which process runs from a folder: an environment that somebody serves from must not be taken away."""

from __future__ import annotations

from pathlib import Path

import psutil


def process_in(folder: Path) -> psutil.Process | None:
    """A process whose program lies below the folder, as far as this user may see; None: there is none."""
    inside = f"{folder}/"
    for process in psutil.process_iter(["exe", "cmdline"]):
        # An environment's Python is a link: only the command line tells where it was called.
        program, *_ = process.info["cmdline"] or [""]
        if program.startswith(inside) or (process.info["exe"] or "").startswith(inside):
            return process
    return None
