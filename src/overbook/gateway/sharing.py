"""One call for many callers: whoever asks for the same thing while it is under way waits for it.

The call ends when its last caller has left. Callers are counted and bounded by the user of this
class, not here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(slots=True)
class _Flight(Generic[V]):
    task: asyncio.Task[V]
    callers: int = 0


class SharedCalls(Generic[K, V]):
    """Calls under way by key."""

    def __init__(self) -> None:
        self._flights: dict[K, _Flight[V]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    async def join(self, key: K, call: Callable[[], Awaitable[V]]) -> V:
        """The result of the call under way for this key; ``call`` starts one when there is none.

        A caller that is cancelled leaves the others alone. Raises what the call raises.
        """
        flight = self._flights.get(key)
        if flight is None:
            task = asyncio.ensure_future(self._fly(call))
            flight = self._flights[key] = _Flight(task)
        flight.callers += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.callers -= 1
            # A flight that landed is not joined any more: the next caller wants a fresh answer.
            if (flight.task.done() or not flight.callers) and self._flights.get(key) is flight:
                del self._flights[key]
            if not flight.callers:
                flight.task.cancel()

    @staticmethod
    async def _fly(call: Callable[[], Awaitable[V]]) -> V:
        return await call()
