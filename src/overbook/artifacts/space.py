"""Keeps the cache within its budget on the disk: who brings files asks here first, and others' files leave for them.

Decides nothing: who leaves is `disk`'s. A shortage that ends by itself, because somebody reads those files or brings
others just now, is waited for; one that does not is told in numbers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from overbook.artifacts.disk import Hold, Kept, Leaving, leaving
from overbook.artifacts.errors import SourceError, Trouble
from overbook.manifests.quantities import amount

# Seconds between two looks at whether there is room by now, where nobody says so.
_LOOK: Final = 0.5


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes on the disk: of all contents, of what is being brought, of what may not leave; and the ``budget``."""

    used: int
    coming: int
    firm: int
    budget: int


class Space:
    """``kept``: all contents on the disk. ``discard``: has files deleted. ``now``: Unix seconds."""

    def __init__(
        self,
        budget: int,
        *,
        kept: Callable[[], Iterable[Kept]],
        discard: Callable[[tuple[str, ...]], Awaitable[None]],
        now: Callable[[], float],
    ) -> None:
        self._budget = budget
        self._kept = kept
        self._discard = discard
        self._now = now
        self._coming: dict[object, int] = {}
        self._turn = asyncio.Lock()
        self._news = asyncio.Event()

    @property
    def budget(self) -> int:
        return self._budget

    async def fit(self) -> None:
        """What arrived may be more than it was said to be: others leave for it where they can."""
        async with self._turn:
            plan = self._plan(0)
            if plan.digests:
                await self._discard(plan.digests)

    def changed(self) -> None:
        """Something left, or may leave now."""
        self._news.set()

    def usage(self) -> Usage:
        kept = list(self._kept())
        return Usage(
            used=sum(each.bytes for each in kept),
            coming=sum(self._coming.values()),
            firm=sum(each.bytes for each in kept if each.hold is Hold.FIRM),
            budget=self._budget,
        )

    @asynccontextmanager
    async def room(self, needed: int, whose: str) -> AsyncIterator[None]:
        """So many bytes are free for as long as the block runs. ``whose``: what they are for, for people.

        Raises SourceError: NO_SPACE where what is in memory or pinned leaves none, REFUSED where there never is any.
        """
        if needed > self._budget:
            raise SourceError(
                Trouble.REFUSED,
                f"{whose} takes {amount(needed)}, more than the whole cache may ({amount(self._budget)}); "
                "start with a larger --cache-size",
            )
        mine = object()
        while not await self._taken(mine, needed, whose):
            self._news.clear()
            try:
                async with asyncio.timeout(_LOOK):
                    await self._news.wait()
            except TimeoutError:
                pass
        try:
            yield
        finally:
            del self._coming[mine]
            self._news.set()

    async def _taken(self, mine: object, needed: int, whose: str) -> bool:
        async with self._turn:
            plan = self._plan(needed)
            if plan.missing:
                if plan.firm + needed > self._budget:
                    raise SourceError(Trouble.NO_SPACE, self._full(whose, needed, plan.firm))
                return False
            self._coming[mine] = needed
            if plan.digests:
                try:
                    await self._discard(plan.digests)
                except BaseException:
                    del self._coming[mine]
                    raise
        return True

    def _plan(self, needed: int) -> Leaving:
        coming = sum(self._coming.values())
        return leaving(self._kept(), budget=self._budget - coming, needed=needed, now=self._now())

    def _full(self, whose: str, needed: int, firm: int) -> str:
        return (
            f"no room on disk for {whose}: it takes {amount(needed)}, and of the cache's {amount(self._budget)} "
            f"{amount(firm)} are of models in memory or pinned; start with a larger --cache-size, or unpin some"
        )
