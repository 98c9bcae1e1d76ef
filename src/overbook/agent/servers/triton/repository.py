"""Writes model folders into a repository that a Triton reads, and takes them out again.

A folder is made beside its place and put there by renames, so Triton never sees half of one. It notices a change
by the newest modification time below the folder alone, so that only ever grows here.
"""

from __future__ import annotations

import os
import shutil
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_CONFIG: Final = "config.pbtxt"
# A Python model must not write its bytecode into the artifact, which is shared and checked.
_BYTECODE: Final = "__pycache__"
# Triton's index lists every folder there is, and never loads one by itself in explicit mode.
STAGING_PREFIX: Final = ".overbook-"


@dataclass(frozen=True, slots=True)
class Contents:
    """``folder``: what goes into the version's folder; as one entry ``name_in_version`` when that is not empty.

    ``beside``: files and folders that go beside the configuration.
    """

    config: str
    version: str
    folder: Path
    name_in_version: str
    beside: tuple[Path, ...]


def publish(repository: Path, name: str, contents: Contents, *, copy: bool) -> None:
    """Put it there, in place of what has the name. Raises OSError; then what was there is still there."""
    repository.mkdir(parents=True, exist_ok=True)
    place = repository / name
    staged = _staging(repository)
    try:
        _build(staged, contents, copy=copy)
        _make_newer(staged / contents.version, than=place)
        _swap(staged, place)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def withdraw(repository: Path, name: str) -> None:
    """Take it out; what is not there is fine. Raises OSError."""
    place = repository / name
    trash = _staging(repository)
    try:
        place.rename(trash)
    except FileNotFoundError:
        return
    shutil.rmtree(trash)


def _staging(repository: Path) -> Path:
    return repository / f"{STAGING_PREFIX}{uuid.uuid4().hex}"


def _build(staged: Path, contents: Contents, *, copy: bool) -> None:
    version = staged / contents.version
    version.mkdir(parents=True)
    (staged / _CONFIG).write_text(contents.config, encoding="utf-8")
    if contents.name_in_version:
        _put(contents.folder, version / contents.name_in_version, copy=copy)
    else:
        for path in contents.folder.iterdir():
            if path.name not in (_CONFIG, _BYTECODE):
                _put(path, version / path.name, copy=copy)
        _keep_bytecode_out(version)
    for path in contents.beside:
        if path.name != _BYTECODE:
            _put(path, staged / path.name, copy=copy)


def _keep_bytecode_out(folder: Path) -> None:
    """Where this is no folder Python writes no bytecode, which would look like a change of the model: the next ensemble
    that calls it would load it once more. A stub's interpreter takes no word from its environment.
    """
    (folder / _BYTECODE).touch()


def _put(source: Path, target: Path, *, copy: bool) -> None:
    if not copy and source.is_dir() and any(source.rglob("*.py")):
        # Through a link to the folder the bytecode would get among the artifact's own files.
        target.mkdir()
        for each in source.iterdir():
            if each.name != _BYTECODE:
                _put(each, target / each.name, copy=False)
        _keep_bytecode_out(target)
    elif not copy:
        target.symlink_to(source.absolute())
    elif source.is_dir():
        shutil.copytree(source, target)
    else:
        shutil.copyfile(source, target)


def _swap(staged: Path, place: Path) -> None:
    if not place.exists():
        staged.rename(place)
        return
    replaced = place.with_name(f"{staged.name}-replaced")
    place.rename(replaced)
    try:
        staged.rename(place)
    except OSError:
        replaced.rename(place)
        raise
    shutil.rmtree(replaced, ignore_errors=True)


def _make_newer(version: Path, *, than: Path) -> None:
    """An older artifact, or one whose files have times in the future, must still look like a change."""
    if not than.exists():
        return
    newest = max(time.time_ns(), _newest(than) + 1_000_000)
    os.utime(version, ns=(newest, newest))


def _newest(folder: Path) -> int:
    """The newest modification time at or below the folder, in ns, links followed as Triton follows them."""
    newest = folder.stat().st_mtime_ns
    for parent, folders, files in os.walk(folder, followlinks=True):
        for name in (*folders, *files):
            try:
                newest = max(newest, os.stat(os.path.join(parent, name)).st_mtime_ns)
            except FileNotFoundError:
                continue
    return newest
