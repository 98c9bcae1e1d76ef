"""One call for many callers: whoever asks for the same thing while it is under way waits for it.

The call ends when its last caller has left, and its callers stay until they have done what they asked for: whoever
made the call learns when the last of them has. Callers are counted and bounded by the user of this class, not here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Hashable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
V_co = TypeVar("V_co", covariant=True)


class Call(Protocol[V_co]):
    """What is shared. ``over`` is called once, when it has no callers any more."""

    async def reply(self) -> V_co: ...

    def over(self) -> None: ...


@dataclass(slots=True)
class _Flight(Generic[V]):
    call: Call[V]
    task: asyncio.Task[V]
    callers: int = 0


class SharedCalls(Generic[K, V]):
    """Calls under way by key."""

    def __init__(self) -> None:
        self._flights: dict[K, _Flight[V]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    @contextlib.asynccontextmanager
    async def join(self, key: K, begin: Callable[[], Call[V]]) -> AsyncIterator[V]:
        """The result of the call under way for this key; ``begin`` makes one when there is none.

        Inside the block one is a caller. A caller that is cancelled leaves the others alone. Raises what the call
        raises.
        """
        flight = self._flights.get(key)
        # One that landed is not joined any more: the next caller wants a fresh answer.
        if flight is None or flight.task.done():
            call = begin()
            flight = self._flights[key] = _Flight(call, asyncio.ensure_future(call.reply()))
        flight.callers += 1
        try:
            yield await asyncio.shield(flight.task)
        finally:
            flight.callers -= 1
            if not flight.callers:
                if self._flights.get(key) is flight:
                    del self._flights[key]
                flight.task.cancel()
                flight.call.over()
