"""Has the demo's models trained in the runtime's environment, once: they are kept for the next demo."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

Progress = Callable[[str, float | None], None]

SCRIPT: Final = Path(__file__).with_name("train.py")
# What is trained and what Overbook copies of it; measured 0.9 GB each for forty models.
DISK_BYTES_PER_MODEL: Final = 60 * 1024 * 1024
_COMPLETE: Final = ".complete"
_PREFIX: Final = "models-"


class TrainingFailed(Exception):
    """One line: what happened and what to do."""


def trained_folder(base: Path, *, models: int, seed: int, python: Path) -> Path:
    """Where these very models are kept: another script, count, seed or environment is another folder."""
    digest = hashlib.sha256(SCRIPT.read_bytes())
    digest.update(f"{models} {seed} {python}".encode())
    return base / f"{_PREFIX}{digest.hexdigest()[:12]}"


def is_trained(folder: Path) -> bool:
    return (folder / _COMPLETE).exists()


def train(folder: Path, *, models: int, seed: int, python: Path, progress: Progress) -> None:
    """Train into `folder`, which appears only when all models are there; blocks.

    Raises TrainingFailed. Sets of other counts and seeds are removed to make room.
    """
    base = folder.parent
    base.mkdir(parents=True, exist_ok=True)
    for old in base.glob(f"{_PREFIX}*"):
        shutil.rmtree(old, ignore_errors=True)
    needed = models * DISK_BYTES_PER_MODEL
    free = shutil.disk_usage(base).free
    if free < needed:
        raise TrainingFailed(
            f"{base} has {free // 2**20} MiB free, the demo needs {needed // 2**20} MiB; "
            "make room, or choose --state-dir on another disk"
        )
    partial = folder.with_name(folder.name + ".partial")
    log = base / "train.log"
    _run(partial, [str(models), str(seed)], python=python, log=log, progress=progress)
    (partial / _COMPLETE).touch()
    partial.rename(folder)


def _run(out: Path, arguments: list[str], *, python: Path, log: Path, progress: Progress) -> None:
    # -I: the script's folder has modules named like others', and the user's site is not the runtime's.
    command = [str(python), "-I", str(SCRIPT), str(out), *arguments]
    count, total = 0, int(arguments[0])
    progress("starting", 0.0)
    with log.open("wb") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
        )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            count += 1
            done = json.loads(line)
            progress(f"{count} of {total}: {done['name']} ({done['kind']})", count / total)
        code = process.wait()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if code or count != total:
        said = log.read_text(errors="replace").strip().splitlines()
        reason = said[-1] if said else f"exit code {code}"
        raise TrainingFailed(f"training stopped after {count} of {total} models: {reason} ({log})")
