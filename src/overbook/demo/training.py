"""Has the demo's models trained, each in an environment with its framework, once: they are kept for the next demo."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

Progress = Callable[[str, float | None], None]

TRAINERS: Final = Path(__file__).with_name("trainers")
# What is trained and what Overbook copies of it; measured 0.9 GB each for forty models.
DISK_BYTES_PER_MODEL: Final = 60 * 1024 * 1024
_COMPLETE: Final = ".complete"
_PREFIX: Final = "models-"


class TrainingFailed(Exception):
    """One line: what happened and what to do."""


@dataclass(frozen=True, slots=True)
class Trainer:
    """A script of `trainers` and the interpreter of the environment that it needs."""

    script: str
    python: Path


@dataclass(frozen=True, slots=True)
class Course:
    """All that decides which models come out."""

    trainers: Sequence[Trainer]
    models: int
    seed: int

    def folder(self, base: Path) -> Path:
        """Where these very models are kept: other scripts, counts, seeds or environments are another folder."""
        digest = hashlib.sha256()
        for path in sorted(TRAINERS.glob("*.py")):
            digest.update(path.read_bytes())
        for trainer in self.trainers:
            digest.update(f"{trainer.script} {trainer.python} ".encode())
        digest.update(f"{self.models} {self.seed}".encode())
        return base / f"{_PREFIX}{digest.hexdigest()[:12]}"


def is_trained(folder: Path) -> bool:
    return (folder / _COMPLETE).exists()


def train(course: Course, base: Path, *, progress: Progress) -> None:
    """Train into the course's folder, which appears only when all models are there; blocks.

    Raises TrainingFailed. Sets of other counts and seeds are removed to make room.
    """
    folder = course.folder(base)
    base.mkdir(parents=True, exist_ok=True)
    for old in base.glob(f"{_PREFIX}*"):
        shutil.rmtree(old, ignore_errors=True)
    needed = course.models * DISK_BYTES_PER_MODEL
    free = shutil.disk_usage(base).free
    if free < needed:
        raise TrainingFailed(
            f"{base} has {free // 2**20} MiB free, the demo needs {needed // 2**20} MiB; "
            "make room, or choose --state-dir on another disk"
        )
    partial = folder.with_name(folder.name + ".partial")
    log = base / "train.log"
    done = 0
    with log.open("wb"):
        pass
    progress("starting", 0.0)
    for trainer in course.trainers:
        done = _run(trainer, course, partial, log=log, before=done, progress=progress)
    if done != course.models:
        raise TrainingFailed(f"{done} of {course.models} models were trained ({log})")
    (partial / _COMPLETE).touch()
    partial.rename(folder)


def _run(
    trainer: Trainer, course: Course, out: Path, *, log: Path, before: int, progress: Progress
) -> int:
    """How many models there are after it."""
    # Neither the user's site nor the environment's variables are the runtime's.
    command = [str(trainer.python), "-s", "-E", "-B", str(TRAINERS / trainer.script), str(out)]
    command += [str(course.models), str(course.seed)]
    count = before
    with log.open("ab") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True
        )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            count += 1
            done = json.loads(line)
            share = count / course.models
            progress(f"{count} of {course.models}: {done['name']} ({done['kind']})", share)
        code = process.wait()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    if code:
        said = log.read_text(errors="replace").strip().splitlines()
        reason = said[-1] if said else f"exit code {code}"
        raise TrainingFailed(
            f"training stopped after {count} of {course.models} models: {reason} ({log})"
        )
    return count
