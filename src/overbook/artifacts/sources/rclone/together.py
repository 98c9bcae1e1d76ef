"""Who wants something at the same time from the same place gets it together.

An item waits until a slot is free; all that wait for the same then go together. Each gets its own answer. Who leaves
takes nothing from the others: the work is ended when the last has left.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

# Seconds in which those who come in one breath find each other.
_BREATH_S: Final = 0.01

Item = TypeVar("Item")
Answer = TypeVar("Answer")
Slot = TypeVar("Slot")


class Entry(Generic[Item, Answer]):
    """One item and who waits for it. ``weight``: of what a group may only have so much."""

    def __init__(self, item: Item, weight: int) -> None:
        self.item = item
        self.weight = weight
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    @property
    def waiting(self) -> bool:
        return not self.answer.done()

    def give(self, answer: Answer) -> None:
        if self.waiting:
            self.answer.set_result(answer)

    def fail(self, error: BaseException) -> None:
        if self.waiting:
            self.answer.set_exception(error)


@dataclass(slots=True)
class _Group(Generic[Item, Answer]):
    """``inside``: how many have not left."""

    entries: list[Entry[Item, Answer]] = field(default_factory=list)
    weight: int = 0
    inside: int = 0
    task: asyncio.Task[None] | None = None


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of one group. ``weight``: see `Entry`."""

    items: int
    weight: int


class Together(Generic[Item, Answer, Slot]):
    """``slot``: is held while a group is at work, of which it is given one. ``work``: gives each entry its answer, or
    its failure; what it leaves open fails by what it raises.
    """

    def __init__(
        self,
        slot: Callable[[Item], AbstractAsyncContextManager[Slot]],
        work: Callable[[list[Entry[Item, Answer]], Slot], Awaitable[None]],
        bounds: Bounds,
    ) -> None:
        self._slot = slot
        self._work = work
        self._bounds = bounds
        # Those that still take others in.
        self._open: dict[Hashable, _Group[Item, Answer]] = {}

    async def ask(self, place: Hashable, item: Item, weight: int = 0) -> Answer:
        """``place``: equal for those who can go together."""
        group = self._open.get(place)
        if group is None or not self._takes(group, weight):
            group = _Group()
            self._open[place] = group
            group.task = asyncio.create_task(self._go(place, group), name=f"{type(item).__name__}s")
        entry: Entry[Item, Answer] = Entry(item, weight)
        group.entries.append(entry)
        group.weight += weight
        group.inside += 1
        try:
            return await entry.answer
        finally:
            group.inside -= 1
            if group.inside == 0 and group.task is not None:
                # The last to leave sees to the end of the work; cancelled, it is wanted by nobody.
                self._close(place, group)
                if entry.answer.cancelled():
                    group.task.cancel()
                await asyncio.wait({group.task})

    def _close(self, place: Hashable, group: _Group[Item, Answer]) -> None:
        if self._open.get(place) is group:
            del self._open[place]

    def _takes(self, group: _Group[Item, Answer], weight: int) -> bool:
        fits = group.weight + weight <= self._bounds.weight
        return fits and len(group.entries) < self._bounds.items

    async def _go(self, place: Hashable, group: _Group[Item, Answer]) -> None:
        failure: Exception = RuntimeError("no answer was given")
        try:
            await asyncio.sleep(_BREATH_S)
            async with self._slot(group.entries[0].item) as slot:
                self._close(place, group)
                waiting = [each for each in group.entries if each.waiting]
                if waiting:
                    await self._work(waiting, slot)
        except Exception as error:
            failure = error
        finally:
            self._close(place, group)
            for each in group.entries:
                each.fail(failure)
