"""Keeps the cache within its budget on the disk: who brings files asks here first, and others' files leave for them.

Decides nothing: who leaves is `disk`'s. A shortage that ends by itself, because somebody reads those files or brings
others just now, is waited for. One that idle models in memory could end is waited for where it is urgent: they are
asked to leave, and what comes back is for the one who has waited longest. Else it is told in numbers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final, NamedTuple

from overbook.artifacts.disk import Hold, Kept, Leaving, held_by, leaving
from overbook.artifacts.errors import NoRoomYet, SourceError, Trouble
from overbook.artifacts.relief import Relieved
from overbook.manifests.quantities import amount

# Seconds between two looks at whether there is room by now, where nobody says so.
_LOOK: Final = 0.5
# Seconds between two looks at least.
_PAUSE: Final = 0.01
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
    deleted. ``relieve``: has models leave memory that hold some of what is ``kept``, for so many bytes, which this
    agent needs, and for which somebody waits since then. ``relieved``: nobody waits for that any more.
    """

    look: Callable[[], Awaitable[None]]
    used: Callable[[], int]
    kept: Callable[[], Sequence[Kept]]
    doom: Callable[[tuple[str, ...]], None]
    discard: Callable[[tuple[str, ...]], Awaitable[None]]
    relieve: Callable[[Sequence[Kept], int, str, float], Relieved]
    relieved: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Urgency:
    """Whether somebody waits for it ``now``, for whom idle models leave memory. ``agent``: that serves them."""

    agent: str
    now: Callable[[], bool]


NOT_URGENT: Final = Urgency("", lambda: False)


@dataclass(frozen=True, slots=True)
class DiskShare:
    """A budget where nobody gave one: this share of what is free on the disk, and of what the cache has there already.

    ``free``: bytes; ``total``: all bytes of that disk.
    """

    share: float
    free: Callable[[], int]
    total: Callable[[], int]


class Beside(NamedTuple):
    """What is on the disk already for whoever wants room, and stays there meanwhile: ``key`` of a fetch, and bytes."""

    key: str
    bytes: int


_NOTHING: Final = Beside("", 0)


@dataclass(frozen=True, slots=True, eq=False)
class _Wish:
    """For room: bytes, and what they are for."""

    needed: int
    whose: str
    urgency: Urgency
    beside: Beside = _NOTHING

    @property
    def takes(self) -> str:
        """For people."""
        more = self.beside.bytes
        beside = f" beside {amount(more)} that it is made of" if more else ""
        return f"takes {amount(self.needed)}{beside}"


@dataclass(frozen=True, slots=True)
class _Asking:
    """``wish``: of who waits in front. ``promised``: digests whose files will leave for it."""

    wish: _Wish
    promised: frozenset[str]


class Space:
    """``budget``: bytes. ``now``: Unix seconds."""

    def __init__(self, budget: int | DiskShare, disk: Disk, now: Callable[[], float]) -> None:
        self._budget = budget
        self._disk = disk
        self._now = now
        self._coming: dict[_Wish, int] = {}
        # One plan at a time. Of those who wait for room one looks, and one of those for whom it is urgent.
        self._turn = asyncio.Lock()
        self._lines = {False: asyncio.Lock(), True: asyncio.Lock()}
        self._listeners: set[asyncio.Event] = set()
        self._asking: _Asking | None = None

    @property
    def promised(self) -> frozenset[str]:
        """Digests whose files leave for the one who waits in front: whoever wants them now waits behind it."""
        return frozenset() if self._asking is None else self._asking.promised

    @property
    def budget(self) -> int:
        """Bytes, at this moment."""
        match self._budget:
            case DiskShare(share, free):
                return int(share * (self._disk.used() + free()))
            case budget:
                return budget

    @property
    def ever(self) -> int:
        """Bytes that the budget can be at most, whatever else is on the disk now."""
        match self._budget:
            case DiskShare(share, _, total):
                return int(share * total())
            case budget:
                return budget

    @property
    def way_out(self) -> str:
        """What people can do where even the whole budget is too small."""
        if isinstance(self._budget, DiskShare):
            return "use a --state-dir on a larger disk, or let it have more of this one with --cache-size"
        return "start with a larger --cache-size"

    def changed(self) -> None:
        """Something left, or may leave now."""
        for each in self._listeners:
            each.set()

    def usage(self) -> Usage:
        kept = self._disk.kept()
        return Usage(
            used=sum(each.bytes for each in kept),
            coming=sum(self._coming.values()),
            firm=sum(each.bytes for each in kept if each.hold is Hold.FIRM),
            budget=self.budget,
        )

    @asynccontextmanager
    async def room(
        self, needed: int, whose: str, urgency: Urgency = NOT_URGENT, *, beside: Beside = _NOTHING
    ) -> AsyncIterator[None]:
        """So many bytes are free for as long as the block runs. ``whose``: what they are for, for people. ``beside``:
        does not leave for it.

        Whoever has room does not ask for more, or several would wait for each other.

        Raises SourceError: NO_SPACE where there is none for now, REFUSED where there never is any.
        """
        wish = _Wish(needed, whose, urgency, beside)
        if needed + beside.bytes > self.ever:
            told = f"{whose} {wish.takes}, more than the whole cache may ever ({amount(self.ever)}); {self.way_out}"
            raise SourceError(Trouble.REFUSED, told)
        if not await self._taken(wish):
            await self._in_line(wish)
        with self._given(wish):
            yield

    async def trim(self) -> None:
        """What is too much, as where the budget was larger once, leaves as far as it may."""
        async with self._turn:
            if self._disk.used() + sum(self._coming.values()) <= self.budget:
                return
            kept, now = self._disk.kept(), self._now()
            budget = self.budget - sum(self._coming.values())
            plan = leaving(kept, budget=budget, needed=0, now=now)
            # What is held firmly may be more than the budget: then all others go.
            plan = leaving(kept, budget=budget + plan.missing, needed=0, now=now)
            await self._carry_out(plan.digests)

    async def throw_away(self, chosen: Callable[[], tuple[str, ...]]) -> int:
        """What is ``chosen`` goes, whatever room there is; how many these were. No room is given meanwhile."""
        async with self._turn:
            await self._disk.look()
            digests = chosen()
            await self._carry_out(digests)
        self.changed()
        return len(digests)

    @contextmanager
    def _given(self, wish: _Wish) -> Iterator[None]:
        try:
            yield
        finally:
            del self._coming[wish]
            self.changed()

    async def _in_line(self, wish: _Wish) -> None:
        """Wait behind those who came before until there is room. Raises NoRoomYet when that takes too long."""
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(PATIENCE):
                while not await self._in_one_line(wish, began):
                    pass
        except TimeoutError:
            self._coming.pop(wish, None)
            raise NoRoomYet(self._busy(wish)) from None
        except BaseException:
            self._coming.pop(wish, None)
            raise
        finally:
            self._end_asking(wish)

    async def _in_one_line(self, wish: _Wish, began: float) -> bool:
        """Whether it has its room; else it belongs into the other line by now."""
        urgent = wish.urgency.now()
        async with self._lines[urgent]:
            with self._listening() as news:
                while wish.urgency.now() is urgent:
                    news.clear()
                    if await self._taken(wish, asking_since=began):
                        return True
                    # Of many news at once one look is enough: it goes over all that is there.
                    await asyncio.sleep(_PAUSE)
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(_LOOK - _PAUSE):
                            await news.wait()
        self._end_asking(wish)
        return False

    @contextmanager
    def _listening(self) -> Iterator[asyncio.Event]:
        news = asyncio.Event()
        self._listeners.add(news)
        try:
            yield news
        finally:
            self._listeners.discard(news)

    async def _taken(self, wish: _Wish, asking_since: float | None = None) -> bool:
        """Take the room if it can be had at once. ``asking_since``: else models leave memory, for a wait since then."""
        needed = wish.needed
        async with self._turn:
            if self._over(wish):
                # There may be less on the disk than is known, never more: where that leaves room, nobody need look.
                await self._disk.look()
            kept, plan = self._planned(wish) if self._over(wish) else ((), Leaving())
            if plan.missing:
                urgent = wish.urgency.now()
                stays = plan.lasting if urgent else plan.firm
                if stays + wish.beside.bytes + needed > self.budget:
                    raise SourceError(Trouble.NO_SPACE, self._full(wish, plan.firm))
                if urgent and asking_since is not None:
                    self._ask(wish, kept, plan.missing, asking_since)
                else:
                    self._end_asking(wish)
                return False
            self._coming[wish] = needed
            try:
                if plan.digests:
                    self._disk.doom(plan.digests)
                # Not before these go, or one of them might be loaded into the memory that is free again.
                self._end_asking(wish)
                if plan.digests:
                    await self._disk.discard(plan.digests)
            except BaseException:
                del self._coming[wish]
                raise
        return True

    def _ask(self, wish: _Wish, kept: Sequence[Kept], missing: int, since: float) -> None:
        relieved = self._disk.relieve(kept, missing, wish.urgency.agent, since)
        promised = relieved.digests
        if relieved.bytes >= missing:
            # What is free already leaves together with these.
            promised |= {each.digest for each in kept if each.hold is Hold.NONE}
        self._asking = _Asking(wish, promised)

    def _end_asking(self, wish: _Wish) -> None:
        if self._asking is not None and self._asking.wish is wish:
            self._asking = None
            self._disk.relieved()
            self.changed()

    def _spoken_for(self, wish: _Wish) -> int:
        """Bytes of what comes, and of what models leave memory for, but for this one's own."""
        asking, coming = self._asking, sum(self._coming.values())
        if asking is None or asking.wish is wish or not asking.promised:
            return coming
        return coming + asking.wish.needed

    def _over(self, wish: _Wish) -> bool:
        """Whether so many bytes more are too many, by what is known of the disk."""
        return self._disk.used() + self._spoken_for(wish) + wish.needed > self.budget

    async def _carry_out(self, digests: tuple[str, ...]) -> None:
        if digests:
            self._disk.doom(digests)
            await self._disk.discard(digests)

    def _planned(self, wish: _Wish) -> tuple[Sequence[Kept], Leaving]:
        """What is there, and what of that has to leave."""
        own, budget = wish.beside.key, self.budget - self._spoken_for(wish)
        kept = [
            each._replace(hold=Hold.BRIEFLY) if own and each.digest == own else each
            for each in self._disk.kept()
        ]
        return kept, leaving(kept, budget=budget, needed=wish.needed, now=self._now())

    def _full(self, wish: _Wish, firm: int) -> str:
        whose, takes = wish.whose, wish.takes
        held = f"{amount(firm)} are of models in memory or pinned, which keep their files: {held_by(self._disk.kept())}"
        leave = "evict or unpin some of these (overbook evict NAME, overbook unpin NAME)"
        if isinstance(self._budget, DiskShare):
            return (
                f"no disk space for {whose}: it {takes}, {amount(self._budget.free())} are free on the "
                f"disk, the cache may take {amount(self.budget)}, and {held}; free some of the disk, use another "
                f"--state-dir, or {leave}"
            )
        return (
            f"no room on disk for {whose}: it {takes}, the cache may take {amount(self.budget)} "
            f"(--cache-size), and {held}; start with a larger --cache-size, or {leave}"
        )

    def _busy(self, wish: _Wish) -> str:
        usage = self.usage()
        return (
            f"waiting for room on disk: {wish.whose} {wish.takes}, and the cache's {amount(self.budget)} are in "
            f"use, {amount(usage.coming)} by other fetches and {amount(usage.firm)} by models in memory or pinned"
        )
