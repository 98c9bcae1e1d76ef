"""Puts the layers of an image over each other, as OCI's image specification says, and takes one folder of it all.

Only what lies in that folder is looked at, and has to keep the rules.
"""

from __future__ import annotations

import posixpath
import stat
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.names import wrong_with
from overbook.artifacts.unpacking.members import HARD_LINK, Member, plain
from overbook.artifacts.unpacking.placing import Place, put
from overbook.manifests.problems import shown

_WHITEOUT: Final = ".wh."
_OPAQUE: Final = ".wh..wh..opq"


class Layers:
    """Of one image, into a place. ``below``: the folder of the image that becomes the place; "" for all of it."""

    def __init__(self, place: Place, below: str) -> None:
        if below and (why := wrong_with(below)):
            raise SourceError(
                Trouble.REFUSED, f"{place.source}: folder {shown(below)} of the image {why}"
            )
        self._place = place
        self._below = below
        self._deleted: set[str] = set()

    def add(self, source: str, members: Iterable[Member]) -> None:
        """The next one, over those before it. ``source``: what people call it."""
        self._place.next_layer(source)
        self._deleted.clear()
        for member in members:
            self._place.effort.member(source)
            folder, _, base = member.name.rpartition("/")
            if base.startswith(_WHITEOUT):
                _pass_over(member)
                self._delete(member.name, folder, base)
            elif (name := self._inside(member.name)) is None:
                _pass_over(member)
                if member.kind != stat.S_IFDIR and self._covers(member.name):
                    # What the folder lay in is none any more.
                    self._place.delete("")
            elif name:
                put(self._place, self._moved(member, name))
            elif member.kind != stat.S_IFDIR:
                raise self._place.refuse(member.name, "is no folder; expected one with a model")

    def _inside(self, name: str) -> str | None:
        """The name from ``below`` on, or None for what is elsewhere in the image."""
        if not self._below:
            return name
        relative = name.lstrip("/")
        if relative != self._below and not relative.startswith(f"{self._below}/"):
            return None
        if relative != name:
            raise self._place.refuse(name, "is absolute; expected names relative to the image")
        return name[len(self._below) + 1 :]

    def _covers(self, name: str) -> bool:
        """Whether ``below`` lies in it."""
        return not name or self._below.startswith(f"{name}/")

    def _delete(self, marker: str, folder: str, base: str) -> None:
        """``marker``: the name of the whiteout, which is ``base`` in ``folder``."""
        gone = folder
        if base != _OPAQUE:
            if base.startswith(_WHITEOUT * 2):
                return  # of AUFS's own books
            gone = f"{folder}/{base.removeprefix(_WHITEOUT)}".lstrip("/")
        name = "" if self._covers(gone) else self._inside(gone)
        # What came before it in this layer stays anyhow.
        if name is None or name in self._deleted:
            return
        if name and (why := wrong_with(name)):
            raise self._place.refuse(marker, why)
        if len(self._deleted) >= self._place.bounds.entries:
            raise self._place.refuse(
                marker, f"is the {len(self._deleted) + 1}th deletion; expected fewer in one layer"
            )
        self._deleted.add(name)
        self._place.delete(name)

    def _moved(self, member: Member, name: str) -> Member:
        """With its name, and where it leads, as they are in ``below``."""
        target = member.target
        if member.kind == HARD_LINK:
            inside = self._inside(plain(target, folder=False))
            if inside is None:
                raise self._place.refuse(
                    member.name,
                    f"is a hard link to {shown(target)}, outside of {shown(self._below)}",
                )
            target = inside
        elif member.kind == stat.S_IFLNK and target.startswith("/"):
            leads_to = self._inside(posixpath.normpath(target).lstrip("/"))
            # Else it is refused as it is.
            if leads_to is not None:
                target = posixpath.relpath(f"/{leads_to}", f"/{posixpath.dirname(name)}")
        return replace(member, name=name, target=target)


def _pass_over(member: Member) -> None:
    """Its bytes are counted where they come out."""
    for _ in member.chunks:
        pass
