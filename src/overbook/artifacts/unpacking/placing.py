"""Writes what is in an archive into a folder, and refuses what may not be there: the rules for all kinds of archives.

Links are made last, when all files are there: until then an empty file keeps the place of each, so that nothing can be
written through a link. Modes in the archive count for nothing.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from overbook.artifacts.entries import entries_of
from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.keeping import FILE_MODE, FOLDER_MODE
from overbook.artifacts.links import Links
from overbook.artifacts.names import Names, wrong_with, wrong_with_text
from overbook.artifacts.unpacking.effort import Effort
from overbook.artifacts.unpacking.members import HARD_LINK, Member, plain
from overbook.artifacts.walk import MAX_ENTRIES
from overbook.manifests.problems import shown

_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# Taken by no artifact: `names` keeps it for us.
_LIFTED: Final = ".overbook-lifted"
# Folders in the targets of links: of all together, and more for each.
_MOST_STEPS: Final = 1000
_MEAN_STEPS: Final = 16


@dataclass(frozen=True, slots=True)
class Bounds:
    """``bytes``: of all files together, unpacked. ``entries``: of files, folders and links together."""

    bytes: int
    entries: int = MAX_ENTRIES


class TooManyBytes(SourceError):
    """More than the bounds allow; with others it may be unpacked."""


class Taker(Protocol):
    """What the members of an archive are given to: `Place`, and what only counts them."""

    def folder(self, name: str, /) -> None: ...

    def file(self, member: Member, /) -> None: ...

    def link(self, name: str, target: str, /) -> None: ...

    def hard_link(self, name: str, target: str, /) -> None: ...

    def refuse(self, name: str, why: str, /) -> SourceError: ...


def put(place: Taker, member: Member) -> None:
    """Raises as `Place` does."""
    if member.kind == stat.S_IFDIR:
        place.folder(member.name)
    elif member.kind == stat.S_IFREG:
        place.file(member)
    elif member.kind == stat.S_IFLNK:
        place.link(member.name, member.target)
    elif member.kind == HARD_LINK:
        place.hard_link(member.name, plain(member.target, folder=False))
    else:
        raise place.refuse(
            member.name, "is a device, pipe or socket; expected files, folders and links"
        )


def no_file(target: str) -> str:
    """What is wrong with a hard link, as the rest of a sentence."""
    return f"is a hard link to {shown(target)}, which is no file that came before it in the archive"


class Place:
    """The folder ``into``, which is new or empty and nobody else's. ``source``: what people call the archive.

    ``effort``: of the whole unpacking. Its methods raise SourceError (REFUSED), which names the rule, OSError, and what
    a step of ``effort`` does.
    """

    def __init__(self, source: str, into: Path, bounds: Bounds, effort: Effort) -> None:
        self.source = source
        self.bounds = bounds
        self.effort = effort
        self._into = into
        self._names = Names(source, bounds.entries)
        self._links: dict[str, str] = {}
        self._bytes = 0
        # Entries of layers before this one.
        self._before = 0
        into.mkdir(mode=FOLDER_MODE, exist_ok=True)

    def next_layer(self, source: str) -> None:
        """What comes from now on may take the place of what is there."""
        self._before += len(self._names)
        self.source = source
        self._names = Names(source, self.bounds.entries, self._before)

    def refuse(self, name: str, why: str) -> SourceError:
        """The error that says so, to be raised."""
        return SourceError(Trouble.REFUSED, f"{self.source}: {shown(name)} {why}")

    def folder(self, name: str) -> None:
        self._names.add(name, folder=True)
        self._make_folders(name)

    def file(self, member: Member) -> None:
        """Its bytes are asked for one after the other, and counted."""
        with open(self._create(member.name), "wb", buffering=0) as file:
            for chunk in member.chunks:
                self.effort.step()
                self._count(len(chunk))
                self.effort.kept(len(chunk))
                rest = memoryview(chunk)
                while rest:
                    rest = rest[file.write(rest) :]

    def link(self, name: str, target: str) -> None:
        """A symbolic one; where it leads is looked at in `finish`."""
        if not target:
            raise self.refuse(name, "is a link to nothing; expected a link inside the artifact")
        if target.startswith("/"):
            raise self.refuse(
                name,
                f"is a link to {shown(target)}, an absolute path; expected a link inside the artifact",
            )
        if why := wrong_with_text(target):
            raise self.refuse(name, f"is a link to {shown(target)}, which {why}")
        os.close(self._create(name))
        self._links[name] = target

    def hard_link(self, name: str, target: str) -> None:
        """Another name for a file that came before, and bytes of its own to whoever counts."""
        there = self._into / target
        if wrong_with(target) or target in self._links or not there.is_file():
            raise self.refuse(name, no_file(target))
        self._count(there.stat().st_size)
        os.close(self._create(name))
        (self._into / name).unlink()
        os.link(there, self._into / name)

    def delete(self, name: str) -> None:
        """What layers before this one have at a name, and below it; ``name`` "" is everything."""
        self.effort.member(self.source)
        if name and not self._names.has(name):
            self._remove(name)
        elif (self._into / name).is_dir():
            for each in os.listdir(self._into / name):
                self.delete(f"{name}/{each}" if name else each)

    def finish(self, *, lift: bool) -> None:
        """Makes the links, and looks at all that is there as at a folder on this machine.

        ``lift``: a single folder at the top becomes the whole, unless its name is a number.
        """
        top = self._single_folder() if lift else ""
        root = (self._into / top).resolve()
        self._make_links(root, f"{top}/" if top else "")
        if top:
            self._lift(top)
        if not any(not each.folder for each in entries_of(Path(self.source), self._into.resolve())):
            raise SourceError(
                Trouble.REFUSED, f"{self.source} has no file in it; expected a model's files"
            )

    def _count(self, more: int) -> None:
        self._bytes += more
        if self._bytes > self.bounds.bytes:
            raise TooManyBytes(
                Trouble.REFUSED,
                f"{self.source} has more than {self.bounds.bytes} bytes when it is unpacked, which is more than there "
                "may be; expected a smaller model",
            )

    def _create(self, name: str) -> int:
        """The descriptor of a new and empty file."""
        self._names.add(name)
        self._make_folders(name.rpartition("/")[0])
        self._remove(name)
        return os.open(self._into / name, _CREATE, FILE_MODE)

    def _make_folders(self, name: str) -> None:
        path = self._into / name
        if path.is_dir():
            return
        self._make_folders(name.rpartition("/")[0])
        self._remove(name)
        path.mkdir(mode=FOLDER_MODE)

    def _remove(self, name: str) -> None:
        """What is at a name from layers before this one."""
        self.effort.step()
        path = self._into / name
        if path.is_dir():
            for each in os.listdir(path):
                self._remove(f"{name}/{each}")
            path.rmdir()
        elif self._links.pop(name, None) is not None or path.exists():
            path.unlink()

    def _single_folder(self) -> str:
        """Its name, where there is nothing beside it and it is no version; else ""."""
        inside = os.listdir(self._into)
        if len(inside) != 1 or not (self._into / inside[0]).is_dir():
            return ""
        return "" if inside[0].isascii() and inside[0].isdigit() else inside[0]

    def _make_links(self, root: Path, prefix: str) -> None:
        """``root``: the folder that becomes the artifact; ``prefix``: what names have before those in there."""
        # A link may go round through folders: each step is looked at, by each link that leads through it.
        steps = sum(target.count("/") + 1 for target in self._links.values())
        if steps > _MOST_STEPS + len(self._links) * _MEAN_STEPS:
            raise SourceError(
                Trouble.REFUSED,
                f"{self.source} has {len(self._links)} links with {steps} folders in them; expected short ones",
            )
        for name, target in self._links.items():
            self.effort.step()
            (self._into / name).unlink()
            os.symlink(target, self._into / name)
        links = Links(Path(self.source), root)
        for name in self._links:
            self.effort.step()
            path = self._into / name
            try:
                real = links.follow(name.removeprefix(prefix))
            except OSError as error:
                raise self.refuse(
                    name,
                    f"is a link that cannot be followed ({error.strerror}); expected a link inside the artifact",
                ) from error
            # So that it holds when the folder moves, by whatever way it led there.
            path.unlink()
            os.symlink(os.path.relpath(real, path.parent.resolve()), path)

    def _lift(self, top: str) -> None:
        # Away first: what is in it may have its name.
        away = (self._into / top).rename(self._into / _LIFTED)
        for each in away.iterdir():
            each.rename(self._into / each.name)
        away.rmdir()
