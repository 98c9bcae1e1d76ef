"""Brings small files of many artifacts by one process of rclone, into a folder beside them, from where each gets its
own name.

What is wrong with one object is the failure of its own artifact alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import uuid
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

from overbook.artifacts.errors import SourceError
from overbook.artifacts.sources.protocol import Progress, Received, RemoteFile
from overbook.artifacts.sources.rclone import batches, places
from overbook.artifacts.sources.rclone.checking import checked
from overbook.artifacts.sources.rclone.mismatch import Mismatch
from overbook.artifacts.sources.rclone.program import Job, Outcome, Program
from overbook.artifacts.sources.rclone.remotes import Remote
from overbook.artifacts.sources.rclone.sections import MAIN
from overbook.artifacts.sources.rclone.together import Entry
from overbook.artifacts.sources.rclone.troubles import explained

_COPY: Final = (
    *("copy", "--no-traverse", "--no-check-dest", "--files-from0", "{list}"),
    # Bytes are checked by us, who read them anyhow.
    *("--ignore-checksum", "--no-update-dir-modtime", "--use-server-modtime"),
    *("--transfers", "8", "--checkers", "8", "--buffer-size", "0", "--multi-thread-streams", "0"),
)


@dataclass(frozen=True, slots=True)
class SmallFiles:
    """Some of one artifact's, each with a known size."""

    remote: Remote
    files: tuple[RemoteFile, ...]
    into: Path
    progress: Progress

    @property
    def bytes(self) -> int:
        return sum(each.size or 0 for each in self.files)


T = TypeVar("T")
SmallEntry = Entry[SmallFiles, tuple[Received, ...]]


class _Coming:
    """What of one artifact's files has come so far, in the folder of the batch. ``shared``: paths there that others
    want as well, such as what is at the top of several versions.
    """

    def __init__(self, wanted: SmallFiles, batch: Path, root: str) -> None:
        self.wanted = wanted
        self.paths = {each.name: batches.below(root, each.origin) for each in wanted.files}
        self.shared: frozenset[str] = frozenset()
        self._batch = batch
        self._folder = batch / batches.below(root, wanted.remote.path)
        self._open = dict(self.paths)
        self._told = 0
        self._whole = 0
        self._settled = False

    def look(self) -> int:
        """Bytes that are here; says so to who waits."""
        growing = 0
        for file in self.wanted.files:
            if file.name not in self._open:
                continue
            path = self._batch / self._open[file.name]
            if places.is_whole(path, file.size or 0):
                self._whole += file.size or 0
                del self._open[file.name]
            else:
                growing += _size(path)
        now = self._whole + growing
        if now > self._told:
            self.wanted.progress(now - self._told)
            self._told = now
        return now

    def take(self) -> tuple[Received, ...]:
        """Checks all files and gives them their names; blocking. Raises Mismatch, OSError."""
        received = [
            Received(each.name, each.size or 0, checked(self._batch / self.paths[each.name], each))
            for each in self.wanted.files
        ]
        self._settled = True
        alone = self._folder != self._batch and self.shared.isdisjoint(self.paths.values())
        # Where all of it is new here, its folder is just what it needs.
        if not (
            alone and self._folder.is_dir() and places.move_folder(self._folder, self.wanted.into)
        ):
            for each in self.wanted.files:
                self._move(each.name, self._batch / self.paths[each.name])
        return tuple(received)

    def keep(self) -> None:
        """Where not all of them have come: those that have are not fetched again. Blocking."""
        if not self._settled:
            self._settled = True
            for each in self.wanted.files:
                batches.keep(self._batch / self.paths[each.name], self.wanted.into, each)

    def _move(self, name: str, path: Path) -> None:
        if self.paths[name] in self.shared:
            # Each has its own: who changes one changes no other.
            own = self._batch / uuid.uuid4().hex
            shutil.copyfile(path, own)
            path = own
        places.move(path, self.wanted.into, name)

    def missing(self) -> tuple[str, ...]:
        """Paths of those that are not here, or only in part."""
        return tuple(
            self.paths[file.name]
            for file in self.wanted.files
            if not places.is_whole(self._batch / self.paths[file.name], file.size or 0)
        )


async def bring_small(
    program: Program, threads: Executor, entries: Sequence[SmallEntry], rate: int | None
) -> None:
    """Gives each its answer. All are below one folder of one remote; ``rate``: bytes per second, None for any."""
    first = entries[0].item
    root = _common_folder(file.origin for each in entries for file in each.item.files)
    intos = [each.item.into for each in entries]
    batch = batches.begin(intos, root)
    coming = [_Coming(each.item, batch, root) for each in entries]
    try:
        counts = Counter(path for each in coming for path in each.paths.values())
        shared = frozenset(path for path, count in counts.items() if count > 1)
        for each in coming:
            each.shared = shared
        listed = "".join(f"{path}\0" for path in counts)
        limit = () if rate is None else ("--bwlimit", f"{rate}B")
        job = Job(
            (*_COPY, *limit, f"{MAIN}:{root}", str(batch)),
            listed=listed.encode(errors="surrogateescape"),
            news=lambda: sum(each.look() for each in coming),
        )
        outcome = await program.run(first.remote, job)
        for entry, one in zip(entries, coming, strict=True):
            await _answer(entry, one, outcome, threads)
    finally:

        def clear() -> None:
            for each in coming:
                each.keep()
            batches.end(batch, intos)

        await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, clear))


async def _answer(entry: SmallEntry, coming: _Coming, outcome: Outcome, threads: Executor) -> None:
    if not entry.waiting:
        return
    loop = asyncio.get_running_loop()
    try:
        coming.look()
        if missing := coming.missing():
            await _unhurried(loop.run_in_executor(threads, coming.keep))
            raise _why(entry.item.remote, missing, outcome)
        entry.give(await _unhurried(loop.run_in_executor(threads, coming.take)))
    except (SourceError, Mismatch, OSError) as error:
        entry.fail(error)


async def _unhurried(work: asyncio.Future[T]) -> T:
    """Cancelled or not, it has ended: the folder goes next."""
    try:
        return await asyncio.shield(work)
    finally:
        await asyncio.wait({work})


def _why(remote: Remote, missing: Sequence[str], outcome: Outcome) -> Exception:
    """By what rclone said of those very objects, where it did."""
    about = tuple(line for line in outcome.said if _object(line) in missing)
    if about:
        return explained(remote, replace(outcome, said=about))
    if not outcome.well and not _names_objects(outcome):
        return explained(remote, outcome)
    return Mismatch(missing[0], "it is not there any more")


def _names_objects(outcome: Outcome) -> bool:
    return any(_object(line) for line in outcome.said)


def _object(line: str) -> str:
    try:
        told = json.loads(line)
    except ValueError:
        return ""
    return str(told.get("object", "")) if isinstance(told, dict) else ""


def _common_folder(paths: Iterable[str]) -> str:
    folders = [path.rpartition("/")[0] for path in paths]
    return os.path.commonpath(folders) if all(folders) else ""


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0
