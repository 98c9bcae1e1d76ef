"""Who is told of changes, how far each has said that it follows, and who waits for that.

Gateways and agents are listeners alike. What people do is answered when the listeners that it concerns have heard: the
next request then finds it so. Nobody waits for long. A listener that let somebody wait in vain is late: it is named,
and not waited for again, until it has caught up. What is told is built elsewhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable


class Listener:
    """One gateway or agent, for as long as it is connected. ``name``: what people know it by.

    ``told``: the number of the newest change that it is to hear of; the first is the state that it finds.
    ``heard``: the newest that it said is in force there.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.told = 1
        self.heard = 0
        self.missed = 0
        self.gone = False

    @property
    def late(self) -> bool:
        """Whether somebody waited in vain for what it has not heard yet."""
        return self.heard < self.missed

    def change(self) -> None:
        """There is something new for it."""
        self.told += 1


class Hearing:
    """Wakes those who wait when a listener has heard, or is gone."""

    def __init__(self) -> None:
        self._progress = asyncio.Event()

    def heard(self, listener: Listener, number: int) -> None:
        """All changes up to this one are in force there. A number that it was not told yet counts for nothing."""
        if listener.heard < number <= listener.told:
            listener.heard = number
            self._progress.set()

    def leave(self, listener: Listener) -> None:
        """It is not waited for any more."""
        listener.gone = True
        self._progress.set()

    async def settled(self, listeners: Iterable[Listener], timeout: float) -> list[Listener]:
        """Waits, at most ``timeout`` seconds, until they have heard of all changes so far; those that have not."""
        targets = {each: each.told for each in listeners}

        def missing(*, among_late: bool) -> list[Listener]:
            return [
                each
                for each, number in targets.items()
                if each.heard < number and not each.gone and (among_late or not each.late)
            ]

        try:
            async with asyncio.timeout(timeout):
                while missing(among_late=False):
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            for each in missing(among_late=False):
                each.missed = targets[each]
        return missing(among_late=True)
