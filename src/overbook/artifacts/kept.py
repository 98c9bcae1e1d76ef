"""What is on this disk at the moment, and who holds it: what the agents say of contents, put together. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass

from overbook.artifacts.disk import Hold, Kept
from overbook.artifacts.index import Content


@dataclass(frozen=True, slots=True)
class Use:
    """What one agent does with a content. ``last_used``: Unix seconds. ``models``: by name, those because of which its
    files stay, with why where they are pinned. ``in_memory``: those that hold it firmly, if they would not once they
    left memory; else empty.
    """

    hold: Hold
    last_used: float
    models: frozenset[str] = frozenset()
    in_memory: frozenset[str] = frozenset()


# What an agent does with contents, by digest, at this moment.
Uses = Callable[[], Mapping[str, Use]]


@dataclass(frozen=True, slots=True)
class Holders:
    """``uses``: by agent and digest. ``busy``: digests that somebody reads; ``absent``: those that agents want who are
    not there; ``promised``: those that leave for somebody who waits for their room.
    """

    uses: Mapping[str, Mapping[str, Use]]
    busy: Set[str]
    absent: Set[str]
    promised: Set[str]

    def kept(self, contents: Iterable[Content]) -> list[Kept]:
        """Of contents that are here."""
        return [self._kept(each) for each in contents]

    def _kept(self, content: Content) -> Kept:
        digest = content.digest
        hold = Hold.BRIEFLY if digest in self.busy else Hold.NONE
        used = content.last_used
        models: frozenset[str] = frozenset()
        in_memory: dict[str, frozenset[str]] = {}
        for name, view in self.uses.items():
            if (use := view.get(digest)) is None:
                continue
            used = max(used, use.last_used)
            models |= use.models
            if use.hold is Hold.BRIEFLY and digest in self.promised:
                continue  # who waits for these files now waits behind the one that they are promised to
            hold = max(hold, use.hold)
            if use.hold is Hold.FIRM:
                in_memory[name] = use.in_memory
        if digest in self.absent:
            # Of an agent that is not there nobody can say what it has in memory.
            hold, in_memory = Hold.FIRM, {}
        if not all(in_memory.values()):
            in_memory = {}
        return Kept(
            digest,
            content.bytes,
            hold,
            used,
            content.seconds,
            models=models,
            in_memory=in_memory,
        )
