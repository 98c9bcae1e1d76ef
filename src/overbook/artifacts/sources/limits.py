"""What all fetches of an agent share: how many there may be at a time, and how fast they may be.

Decides nothing: whose turn it is, and whose is over, is `turns`'. Nobody sleeps while they hold a slot, but for the
rate: who has to wait rests meanwhile (`Turn.rest`), and others fetch.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from overbook.artifacts.errors import GaveWay, SourceError, Trouble
from overbook.artifacts.sources.protocol import Progress
from overbook.artifacts.sources.turns import End, Rules, Turns
from overbook.manifests.quantities import amount

# Seconds between two looks at whose turn has to end.
_LOOK: Final = 1.0
_RULES: Final = Rules()


class Turn:
    """A slot of one process, or of several connections that bring one artifact: it is held while any of them works."""

    def __init__(self, limits: FetchLimits, source: str) -> None:
        self.source: Final = source
        self.granted: Final = asyncio.Event()
        self.ends: Final = asyncio.timeout(None)
        self.over: End | None = None
        self._limits = limits
        self._working = 1
        # Guards what is below.
        self._lock = threading.Lock()
        self._brought = 0

    @property
    def brought(self) -> int:
        """Bytes, up to now."""
        with self._lock:
            return self._brought

    def counting(self, progress: Progress) -> Progress:
        """The same, and what it is told counts as brought in this turn. To be called from any thread."""

        def counted(count: int) -> None:
            with self._lock:
                self._brought += count
            progress(count)

        return counted

    def share(self, workers: int) -> None:
        """From now on so many work in it; each says when it is done (`leave`)."""
        self._working = workers

    def leave(self) -> None:
        """One who works in it is done."""
        self._working -= 1
        if not self._working:
            self._limits.give_back(self)

    async def rest(self, seconds: float) -> None:
        """Sleep, and leave the slot to others if nobody else works in this turn; then wait until it has one again."""
        self.leave()
        try:
            await asyncio.sleep(seconds)
        finally:
            self._working += 1
        await self._limits.granted(self)


class FetchLimits:
    """``concurrent``: processes and connections that bring files at the same time. ``rate``: bytes per second of all
    of them together, None for as fast as it goes.
    """

    def __init__(
        self, concurrent: int = 4, rate: int | None = None, rules: Rules | None = None
    ) -> None:
        self.concurrent = concurrent
        self.rate = rate
        self._rules = _RULES if rules is None else rules
        if self.rate_of_one is not None:
            # Who is slow because we want it is not too slow.
            slowest = min(self._rules.slowest, self.rate_of_one / 2)
            self._rules = replace(self._rules, slowest=slowest)
        self._turns: Turns[Turn] = Turns(concurrent, self._rules)
        self._timer: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def slot(self, source: str) -> AsyncIterator[Turn]:
        """Held by one process, or by one artifact that is brought over connections of our own. ``source``: slots are
        fair between these.

        Raises SourceError when the turn has to end early: TOO_SLOW, or GaveWay.
        """
        turn = Turn(self, source)
        try:
            await self.granted(turn)
            async with turn.ends:
                yield turn
        except TimeoutError:
            if turn.over is None:
                raise
            raise self._why(turn, turn.over) from None
        finally:
            self.give_back(turn)

    @property
    def rate_of_one(self) -> int | None:
        """Bytes per second that one slot may use, so that all of them keep the rate."""
        return None if self.rate is None else max(1, self.rate // self.concurrent)

    async def granted(self, turn: Turn) -> None:
        """Wait until this turn has its slot. Several may wait for the same."""
        if turn not in self._turns.holding and turn not in self._turns.waiting:
            self._turns.ask(turn, turn.source, self._now())
            self._begin()
        await turn.granted.wait()

    def give_back(self, turn: Turn) -> None:
        """It needs no slot for now; nothing where it has none and waits for none."""
        turn.granted.clear()
        self._turns.give_back(turn)
        self._begin()

    def _begin(self) -> None:
        for each in self._turns.begin(self._now(), self._came()):
            each.granted.set()
        if self._timer is None and self._turns.holding:
            self._timer = asyncio.get_running_loop().call_later(_LOOK, self._look)

    def _look(self) -> None:
        self._timer = None
        for turn, end in self._turns.end(self._now(), self._came()).items():
            turn.over = end
            turn.ends.reschedule(self._now())
        self._begin()

    def _came(self) -> dict[Turn, int]:
        return {each: each.brought for each in (*self._turns.holding, *self._turns.waiting)}

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _why(self, turn: Turn, over: End) -> SourceError:
        if over is End.GIVES_WAY:
            return GaveWay(
                f"{turn.source} gives a slot to another source, which has none; what came is kept, and gone on with"
            )
        return SourceError(
            Trouble.TOO_SLOW,
            f"{turn.source} brings less than {amount(int(self._rules.slowest))} a second while others wait for their "
            "turn; what came is kept, and gone on with",
        )
