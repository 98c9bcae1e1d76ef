"""One piece of work at a time for all who want the same: they join it, and it ends early when all of them have left."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar
from weakref import WeakValueDictionary

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


@dataclass(slots=True)
class _Work(Generic[T]):
    task: asyncio.Task[T]
    joined: int = 0


class SharedWork(Generic[K, T]):
    """Work by key. Whoever joins late gets what the first one gets, its error included.

    Work in one ``lane`` (its key, unless told otherwise) never runs side by side, also not with work that was cancelled
    and has not ended yet.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._works: dict[K, _Work[T]] = {}
        self._lanes: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()

    def __contains__(self, key: K) -> bool:
        return key in self._works

    async def join(
        self, key: K, begin: Callable[[], Awaitable[T]], *, lane: Hashable | None = None
    ) -> T:
        """The result; ``begin`` is called where nobody has begun. Cancelling leaves it to the others."""
        work = self._works.get(key)
        if work is None:
            turn = self._lanes.setdefault(key if lane is None else lane, asyncio.Lock())
            work = _Work(asyncio.create_task(_in_turn(turn, begin), name=f"{self._name} {key}"))
            self._works[key] = work
            work.task.add_done_callback(lambda task: self._ended(key, task))
        work.joined += 1
        try:
            return await asyncio.shield(work.task)
        finally:
            work.joined -= 1
            if not work.joined and not work.task.done():
                # Nobody may join what is being cancelled.
                if self._works.get(key) is work:
                    del self._works[key]
                work.task.cancel("nobody waits for it any more")
                await asyncio.wait({work.task})

    def _ended(self, key: K, task: asyncio.Task[T]) -> None:
        work = self._works.get(key)
        if work is not None and work.task is task:
            del self._works[key]
        if not task.cancelled():
            task.exception()  # whoever is left has it; nobody else needs to hear of it


async def _in_turn(turn: asyncio.Lock, begin: Callable[[], Awaitable[T]]) -> T:
    async with turn:
        return await begin()
