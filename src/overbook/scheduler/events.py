"""What happened lately, numbered, in a ring; readers can wait for more. Nothing here is durable."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from dataclasses import dataclass
from typing import Final

from overbook.scheduler.errors import TooMany

RING: Final = 5000
WAITING: Final = 256


@dataclass(frozen=True, slots=True)
class Event:
    """``time``: Unix seconds. ``replica``: "mlserver/0" or ""."""

    seq: int
    time: float
    warning: bool
    reason: str
    kind: str
    name: str
    replica: str
    message: str


class EventRing:
    """The last `RING` events. Numbers begin at 1 with every start of the scheduler.

    ``waiting``: how many may wait for more at once, each of whom has a connection.
    """

    def __init__(self, waiting: int = WAITING) -> None:
        self._most: Final = waiting
        self._waiting = 0
        self._ring: deque[Event] = deque(maxlen=RING)
        self._numbers = itertools.count(1)
        self._last = 0
        self._more = asyncio.Event()
        self._waits = True

    @property
    def last(self) -> int:
        return self._last

    def add(
        self,
        reason: str,
        *,
        kind: str,
        name: str,
        message: str,
        time: float,
        warning: bool = False,
        replica: str = "",
    ) -> None:
        self._last = next(self._numbers)
        self._ring.append(Event(self._last, time, warning, reason, kind, name, replica, message))
        self._more.set()
        self._more = asyncio.Event()

    def after(self, seq: int, *, kind: str | None = None, name: str | None = None) -> list[Event]:
        """Events after number ``seq``. A number from before a restart means: everything there is."""
        if seq > self._last:
            seq = 0
        found = list(itertools.takewhile(lambda event: event.seq > seq, reversed(self._ring)))
        return [
            event
            for event in reversed(found)
            if (kind is None or event.kind == kind) and (name is None or event.name == name)
        ]

    def stop_waiting(self) -> None:
        """From now on `wait_after` answers at once: the scheduler is about to stop."""
        self._waits = False
        self._more.set()

    async def wait_after(self, seq: int, *, wait: float, name: str | None = None) -> list[Event]:
        """As `after`, but when there is none yet, waits up to ``wait`` seconds for one.

        Raises TooMany when that is one more than may wait.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait
        kind = None if name is None else "Model"
        while True:
            more = self._more
            found = self.after(seq, kind=kind, name=name)
            left = deadline - loop.time()
            if found or left <= 0 or not self._waits:
                return found
            if self._waiting >= self._most:
                raise TooMany(
                    f"{self._most} others wait for events already; try again when one of them has ended, or ask "
                    "without `wait`"
                )
            self._waiting += 1
            try:
                async with asyncio.timeout(left):
                    await more.wait()
            except TimeoutError:
                return []
            finally:
                self._waiting -= 1
