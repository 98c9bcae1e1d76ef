"""Which agents are asked to have models leave memory, where files of these are in the way of others on the disk.

Whose models leave is each agent's own to decide. Here is who is asked for how much: first the one that needs the room,
then the others for the rest. Files that several agents hold are free when all of them have given them up, so these are
asked for only where there is not enough that one agent alone holds, and each agent only for what those before it gave.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import NamedTuple


class InMemory(NamedTuple):
    """A content on this disk that stays only because of models in memory. ``models``: their names, by agent."""

    digest: str
    bytes: int
    models: Mapping[str, Set[str]]


class OwnFiles(NamedTuple):
    """The same, as one agent is asked for it."""

    digest: str
    bytes: int
    models: Set[str]


class RoomWanted(NamedTuple):
    """Asked of one agent: so many ``missing`` bytes of these ``files``; 0 for none any more. It stands until the next.
    ``since``: when somebody began to wait for them, in seconds of the event loop.
    """

    missing: int
    files: tuple[OwnFiles, ...]
    since: float


# Has models leave memory. Returns the digests of those files that this agent's models will not hold any more.
Relieve = Callable[[RoomWanted], Set[str]]


class Relieved(NamedTuple):
    """``bytes``: that will be free. ``digests``: of files that models leave memory for, also where others stay."""

    bytes: int
    digests: frozenset[str]


class Relief:
    """Remembers what each agent gives up, so that no other is asked for that, too."""

    def __init__(self) -> None:
        self._given: dict[str, Set[str]] = {}

    def ask(
        self,
        held: Sequence[InMemory],
        missing: int,
        since: float,
        agents: Mapping[str, Relieve],
        first: str,
    ) -> Relieved:
        """``missing``: bytes that ``first``, an agent, needs."""
        self._given = {each: self._given.get(each, frozenset()) for each in agents}
        alone = sum(each.bytes for each in held if len(each.models) == 1)
        before: set[str] = set()
        for name in sorted(agents, key=lambda each: each != first):
            files = tuple(
                OwnFiles(each.digest, each.bytes, each.models[name])
                for each in held
                if name in each.models
                and (
                    len(each.models) == 1
                    or (alone < missing and self._is_given(each, each.models.keys() & before))
                )
            )
            others = (each for each in held if name not in each.models)
            elsewhere = sum(each.bytes for each in others if self._is_given(each, each.models))
            wanted = RoomWanted(max(0, missing - elsewhere), files, since)
            self._given[name] = agents[name](wanted)
            before.add(name)
        free = sum(each.bytes for each in held if self._is_given(each, each.models))
        return Relieved(free, frozenset[str]().union(*self._given.values()))

    def end(self, agents: Mapping[str, Relieve]) -> None:
        """Nothing is wanted any more."""
        if self._given:
            self._given = {}
            for relieve in agents.values():
                relieve(RoomWanted(0, (), 0.0))

    def _is_given(self, held: InMemory, agents: Iterable[str]) -> bool:
        return all(held.digest in self._given.get(each, ()) for each in agents)
