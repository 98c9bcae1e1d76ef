"""Keeps the cache within its budget on the disk: who brings files asks here first, and others' files leave for them.

Decides nothing: who leaves is `disk`'s. A shortage that ends by itself, because somebody reads those files or brings
others just now, is waited for; one that does not is told in numbers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final

from overbook.artifacts.disk import Hold, Kept, Leaving, held_by, leaving
from overbook.artifacts.errors import NoRoomYet, SourceError, Trouble
from overbook.manifests.quantities import amount

# Seconds between two looks at whether there is room by now, where nobody says so.
_LOOK: Final = 0.5
# Seconds for which a shortage that may end by itself is waited for; then people are told, and another try may follow.
PATIENCE: Final = 15.0


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes on the disk: of all contents, of what is being brought, of what may not leave; and the ``budget``."""

    used: int
    coming: int
    firm: int
    budget: int


@dataclass(frozen=True, slots=True)
class Disk:
    """What room is made on. ``look``: sees what is there by now. ``kept``: all of that, and ``used``: its bytes, which
    takes less time. ``doom``: these are to go, and nobody may use them from this moment on; ``discard`` then has them
    deleted.
    """

    look: Callable[[], Awaitable[None]]
    used: Callable[[], int]
    kept: Callable[[], Sequence[Kept]]
    doom: Callable[[tuple[str, ...]], None]
    discard: Callable[[tuple[str, ...]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class DiskShare:
    """A budget where nobody gave one: this share of what is free on the disk, and of what the cache has there already.

    ``free``: bytes.
    """

    share: float
    free: Callable[[], int]


class Space:
    """``budget``: bytes. ``now``: Unix seconds."""

    def __init__(self, budget: int | DiskShare, disk: Disk, now: Callable[[], float]) -> None:
        self._budget = budget
        self._disk = disk
        self._now = now
        self._coming: dict[object, int] = {}
        # One plan at a time; of those who wait for room, one looks.
        self._turn = asyncio.Lock()
        self._line = asyncio.Lock()
        self._news = asyncio.Event()

    @property
    def budget(self) -> int:
        """Bytes, at this moment."""
        match self._budget:
            case DiskShare(share, free):
                return int(share * (self._disk.used() + free()))
            case budget:
                return budget

    def changed(self) -> None:
        """Something left, or may leave now."""
        self._news.set()

    def usage(self) -> Usage:
        kept = self._disk.kept()
        return Usage(
            used=sum(each.bytes for each in kept),
            coming=sum(self._coming.values()),
            firm=sum(each.bytes for each in kept if each.hold is Hold.FIRM),
            budget=self.budget,
        )

    @asynccontextmanager
    async def room(self, needed: int, whose: str) -> AsyncIterator[None]:
        """So many bytes are free for as long as the block runs. ``whose``: what they are for, for people.

        Raises SourceError: NO_SPACE where there is none for now, REFUSED where there never is any.
        """
        if not isinstance(self._budget, DiskShare) and needed > self._budget:
            raise SourceError(
                Trouble.REFUSED,
                f"{whose} takes {amount(needed)}, more than the whole cache may ({amount(self._budget)}); "
                "start with a larger --cache-size",
            )
        mine = object()
        if not await self._taken(mine, needed, whose):
            try:
                async with asyncio.timeout(PATIENCE), self._line:
                    while not await self._taken(mine, needed, whose):
                        await self._some_news()
            except TimeoutError:
                self._coming.pop(mine, None)
                raise NoRoomYet(self._busy(whose, needed)) from None
            except BaseException:
                self._coming.pop(mine, None)
                raise
        with self._given(mine):
            yield

    @asynccontextmanager
    async def room_at_once(self, needed: int, whose: str) -> AsyncIterator[None]:
        """As `room`, for who has some already: if all of these waited for more, nobody would ever get it."""
        mine = object()
        if not await self._taken(mine, needed, whose):
            raise NoRoomYet(self._busy(whose, needed))
        with self._given(mine):
            yield

    async def trim(self) -> None:
        """What is too much, as where the budget was larger once, leaves as far as it may."""
        async with self._turn:
            if self._disk.used() + sum(self._coming.values()) <= self.budget:
                return
            plan = self._plan(0)
            # What is held firmly may be more than the budget: then all others go.
            await self._carry_out(self._plan(0, allowed=plan.missing).digests)

    async def throw_away(self, chosen: Callable[[], tuple[str, ...]]) -> int:
        """What is ``chosen`` goes, whatever room there is; how many these were. No room is given meanwhile."""
        async with self._turn:
            await self._disk.look()
            digests = chosen()
            await self._carry_out(digests)
        self._news.set()
        return len(digests)

    @contextmanager
    def _given(self, mine: object) -> Iterator[None]:
        try:
            yield
        finally:
            del self._coming[mine]
            self._news.set()

    async def _some_news(self) -> None:
        self._news.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK):
                await self._news.wait()

    async def _taken(self, mine: object, needed: int, whose: str) -> bool:
        async with self._turn:
            if self._over(needed):
                # There may be less on the disk than is known, never more: where that leaves room, nobody need look.
                await self._disk.look()
            plan = self._plan(needed) if self._over(needed) else Leaving()
            if plan.missing:
                if plan.firm + needed > self.budget:
                    raise SourceError(Trouble.NO_SPACE, self._full(whose, needed, plan.firm))
                return False
            self._coming[mine] = needed
            try:
                await self._carry_out(plan.digests)
            except BaseException:
                del self._coming[mine]
                raise
        return True

    def _over(self, needed: int) -> bool:
        """Whether so many bytes more are too many, by what is known of the disk."""
        return self._disk.used() + sum(self._coming.values()) + needed > self.budget

    async def _carry_out(self, digests: tuple[str, ...]) -> None:
        if digests:
            self._disk.doom(digests)
            await self._disk.discard(digests)

    def _plan(self, needed: int, *, allowed: int = 0) -> Leaving:
        budget = self.budget + allowed - sum(self._coming.values())
        return leaving(self._disk.kept(), budget=budget, needed=needed, now=self._now())

    def _full(self, whose: str, needed: int, firm: int) -> str:
        held = f"{amount(firm)} are of models in memory or pinned, which keep their files: {held_by(self._disk.kept())}"
        leave = "evict or unpin some of these (overbook evict NAME, overbook unpin NAME)"
        if isinstance(self._budget, DiskShare):
            return (
                f"no disk space for {whose}: it takes {amount(needed)}, {amount(self._budget.free())} are free on the "
                f"disk, the cache may take {amount(self.budget)}, and {held}; free some of the disk, use another "
                f"--state-dir, or {leave}"
            )
        return (
            f"no room on disk for {whose}: it takes {amount(needed)}, the cache may take {amount(self.budget)} "
            f"(--cache-size), and {held}; start with a larger --cache-size, or {leave}"
        )

    def _busy(self, whose: str, needed: int) -> str:
        usage = self.usage()
        return (
            f"waiting for room on disk: {whose} takes {amount(needed)}, and the cache's {amount(self.budget)} are in "
            f"use, {amount(usage.coming)} by other fetches and {amount(usage.firm)} by models in memory or pinned"
        )
