"""Runs uv, tells how far it is, and puts into words why it failed. Also what else every maker of environments needs:
the lock that lets one at a time work, and the marker by which an environment is known to be whole.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import uv

from overbook.runtimes.abandoning import check, run, watched
from overbook.runtimes.children import started

Progress = Callable[[str, float | None], None]

COMPLETE: Final = ".overbook-complete"
_INSTALL_SECONDS: Final = 1800.0
# What uv reports while it works, and how far that is. Fractions are of the whole, by measured time.
_STEPS: Final = (
    (re.compile(r"^Resolved (\d+) packages"), "resolved {0} packages", 0.1),
    (re.compile(r"^Prepared (\d+) packages"), "downloaded {0} packages", 0.6),
    (re.compile(r"^Installed (\d+) packages"), "installed {0} packages, compiling them", 0.7),
    (re.compile(r"^Bytecode compiled (\d+) files"), "compiled {0} files", 0.98),
)
_DOWNLOADING: Final = re.compile(r"^\s*Downloading (\S+) \((\S+)\)")
_DOWNLOADED: Final = re.compile(r"^\s*Downloaded (\S+)")
_FOREIGN: Final = ("VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME", "CONDA_PREFIX")
_IMPORT_SECONDS: Final = 120.0
_LOCK_PAUSE: Final = 0.2


class RuntimeInstallError(Exception):
    """The environment is not there or could not be made. One line: what happened and what to do."""


def is_complete(root: Path) -> bool:
    return (root / COMPLETE).is_file() and (root / "bin" / "python").exists()


def said_of(root: Path) -> Mapping[str, object]:
    """What an environment says of itself in its marker; nothing where it was made by a version that said nothing."""
    try:
        said = json.loads((root / COMPLETE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def complete(root: Path, said: Mapping[str, object]) -> None:
    """From now on the environment is whole. At once or not at all: others may be reading it."""
    made = root / f"{COMPLETE}-new"
    made.write_text(json.dumps(said), encoding="utf-8")
    made.rename(root / COMPLETE)


def size_of(root: Path) -> int:
    """Bytes of all files. Counted once: walking twenty thousand files takes the better part of a second."""
    total = 0
    for folder, _folders, files in os.walk(root):
        for name in files:
            try:
                total += os.lstat(os.path.join(folder, name)).st_size
            except FileNotFoundError:
                continue
    return total


@contextmanager
def locked(path: Path, progress: Progress) -> Iterator[None]:
    """Hold the file lock; the kernel drops it when the holder dies."""
    with open(path, "w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another installation to end", None)
            _wait_for(file.fileno())
        yield


def _wait_for(descriptor: int) -> None:
    while True:
        check()
        time.sleep(_LOCK_PAUSE)
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return


def follow(progress: Progress) -> Callable[[str], None]:
    """Takes uv's lines, and tells those that mean something to people."""
    waiting: set[str] = set()

    def on_line(line: str) -> None:
        for pattern, text, fraction in _STEPS:
            if match := pattern.match(line):
                progress(text.format(match.group(1)), fraction)
        if match := _DOWNLOADING.match(line):
            waiting.add(match.group(1))
            progress(f"downloading {match.group(1)} ({match.group(2)})", None)
        elif match := _DOWNLOADED.match(line):
            waiting.discard(match.group(1))
            rest = f", large ones to go: {len(waiting)}" if waiting else ""
            progress(f"downloaded {match.group(1)}{rest}", None)

    return on_line


def ignore(_message: object, _fraction: float | None = None) -> None:
    return None


def run_uv(
    arguments: list[str], failed: str, folder: Path, on_line: Callable[[str], None] = ignore
) -> None:
    """Run uv to its end. Raises RuntimeInstallError: ``failed``, what is not there then, and uv's last words."""
    env = {key: value for key, value in os.environ.items() if key not in _FOREIGN}
    # A cause is one line, however wide the terminal is.
    env |= {"UV_NO_PROGRESS": "1", "NO_COLOR": "1", "COLUMNS": "10000"}
    lines: list[str] = []
    # Settings of whatever project the caller stands in must not apply; those of the user do.
    with started([uv.find_uv_bin(), *arguments], env=env, cwd=folder) as child, watched(child):
        deadline = threading.Timer(_INSTALL_SECONDS, child.end)
        deadline.daemon = True
        deadline.start()
        try:
            for line in child.process.stderr or ():
                lines.append(line.rstrip())
                on_line(line)
            code = child.process.wait()
        finally:
            deadline.cancel()
    if code != 0:
        raise RuntimeInstallError(_uv_reason(failed, lines))


def _uv_reason(failed: str, lines: list[str]) -> str:
    """One line from uv's error report: its innermost cause, or all that it concludes of versions."""
    causes = [
        re.sub(r"^\s*(error:|cause:|Caused by:|[×├╰─▶>-]+)\s*", "", line).strip() for line in lines
    ]
    causes = [cause for cause in causes if cause and not cause.startswith(("warning:", "hint:"))]
    text = " ".join(lines)
    if "No space left on device" in text or "Disk quota exceeded" in text:
        advice = "no disk space: free some, or set OVERBOOK_RUNTIMES_DIR and UV_CACHE_DIR to another disk"
    elif "No solution found" in text:
        advice = "these packages are not compatible with each other"
    elif re.search(
        r"dns error|connect|timed out|client error|Failed to fetch", text, re.IGNORECASE
    ):
        advice = (
            "the package index cannot be reached: check the network, or UV_INDEX_URL for a mirror"
        )
    else:
        advice = "uv could not install its packages"
    # Of several conclusions the first names the packages that differ, and the last only that nothing fits.
    first = next((at for at, cause in enumerate(causes) if cause.startswith("Because ")), -1)
    detail = " ".join(causes[first:]) or "uv said nothing"
    return f"{failed}: {advice} ({detail})"


def os_reason(failed: str, folder: Path, error: OSError, way_out: str) -> str:
    """``way_out``: how to have another folder."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        advice = f"no disk space: free some, or {way_out} on another disk"
    else:
        advice = f"{error.strerror or error}; {way_out} that can be written"
    return f"{failed} in {folder}: {advice}"


def import_all(python: Path, modules: tuple[str, ...], failed: str) -> None:
    """Have the environment import what its server needs. Raises RuntimeInstallError with what it says instead."""
    env = {key: value for key, value in os.environ.items() if key not in _FOREIGN}
    command = [str(python), "-c", "; ".join(f"import {each}" for each in modules)]
    try:
        code, text = run(command, seconds=_IMPORT_SECONDS, env=env)
        said = text.strip().splitlines() if code else []
        why = said[-1] if said else f"exit code {code}"
        works = code == 0
    except (OSError, subprocess.TimeoutExpired) as error:
        works, why = False, str(error)
    if not works:
        raise RuntimeInstallError(f"{failed}: its packages do not work together ({why})")
