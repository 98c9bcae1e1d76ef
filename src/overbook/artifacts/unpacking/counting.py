"""Counts what an archive unpacks to, member by member, and writes nothing.

Names and hard links keep the rules of `placing` here as well, or nobody could say how much each takes; where links lead
shows when they are there.
"""

from __future__ import annotations

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.names import Names
from overbook.artifacts.unpacking.effort import Effort
from overbook.artifacts.unpacking.members import Member
from overbook.artifacts.unpacking.placing import Bounds, TooManyBytes, no_file
from overbook.manifests.problems import shown


class Count:
    """Of one archive. ``source``: what people call it. Its methods raise SourceError (REFUSED)."""

    def __init__(self, source: str, bounds: Bounds, effort: Effort) -> None:
        self._source = source
        self._bounds = bounds
        self._effort = effort
        self._names = Names(source, bounds.entries)
        # Of files by name, as hard links count once more.
        self._sizes: dict[str, int] = {}
        self.bytes = 0

    def refuse(self, name: str, why: str) -> SourceError:
        """The error that says so, to be raised."""
        return SourceError(Trouble.REFUSED, f"{self._source}: {shown(name)} {why}")

    def folder(self, name: str) -> None:
        self._names.add(name, folder=True)

    def file(self, member: Member) -> None:
        """By what its header says, so that nothing need be unpacked of what is too large."""
        self._add(member.name, member.size)
        self._effort.kept(member.size)

    def link(self, name: str, target: str) -> None:
        self._names.add(name)

    def hard_link(self, name: str, target: str) -> None:
        size = self._sizes.get(target)
        if size is None:
            raise self.refuse(name, no_file(target))
        self._add(name, size)

    def _add(self, name: str, size: int) -> None:
        self._names.add(name)
        self._sizes[name] = size
        self.bytes += size
        if self.bytes > self._bounds.bytes:
            raise TooManyBytes(
                Trouble.REFUSED, f"{self._source} unpacks to more than {self._bounds.bytes} bytes"
            )
