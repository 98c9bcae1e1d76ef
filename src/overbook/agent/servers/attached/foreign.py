"""The models in an attached server that Overbook did not put there: shown to people, and never touched."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Set
from dataclasses import dataclass
from typing import Final

from overbook.agent.servers.attached.stock import foreign
from overbook.agent.servers.protocol import Presence, ProcessMemory

_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Foreign:
    """A model that the server holds and Overbook did not put there. ``bytes``: None when they cannot be seen."""

    name: str
    presence: Presence
    bytes: int | None = None


class ForeignModels:
    """``seen``: those that were there at the last look.

    ``memory`` tells of one model's own processes; ``on_change`` is called whenever ``seen`` has changed.
    """

    def __init__(
        self,
        memory: Callable[[str], Awaitable[ProcessMemory | None]],
        on_change: Callable[[], None],
    ) -> None:
        self._memory = memory
        self._on_change = on_change
        self.seen: tuple[Foreign, ...] = ()

    def has(self, name: str) -> bool:
        return any(each.name == name for each in self.seen)

    async def look(self, found: Mapping[str, Presence], placed: Set[str]) -> None:
        """``found``: what the server's index says; ``placed``: the names that are ours."""
        before = self.seen
        self.seen = tuple(
            [
                Foreign(name, state, await self._bytes_of(name))
                for name, state in foreign(found, placed).items()
            ]
        )
        if self.seen != before:
            self._on_change()

    async def _bytes_of(self, name: str) -> int | None:
        own = await self._memory(name)
        # To the MiB: what breathes a little is no news.
        return None if own is None else own.bytes // _MIB * _MIB
