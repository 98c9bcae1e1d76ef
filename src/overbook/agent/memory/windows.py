"""Loads and unloads seen from outside: a window around each, and waiting until bytes are seen back.

Where the server keeps a process per model, that one's size is asked for. Elsewhere a content that was never measured is
loaded alone (`turns`), and its window (`attribution`) is then its own; later loads give samples whenever they happen to
be alone, and none while requests were answered, whose bodies come and go in the same process.

After an unload the process must shrink to what the others are charged with. It is looked at in growing pauses until a
deadline; what is missing then is withheld from the budget (`unattributed`). Looking costs 40 microseconds, so nothing
waits for it that need not.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Final

from overbook.agent.clock import Clock
from overbook.agent.memory.attribution import Attribution
from overbook.agent.memory.readings import Probe
from overbook.agent.memory.sizes import Measurable, Sizes
from overbook.agent.memory.telling import Telling, Work
from overbook.agent.memory.turns import Turns
from overbook.agent.memory.unattributed import Unattributed

# Seconds that an operation waits for others, so that it is seen alone.
_PATIENCE: Final = 2.0
# Seconds that bytes may take to be seen back, and bytes of what fell short before.
_BACK: Final = 1.5
_BACK_AGAIN: Final = 0.05
# Seconds between looks while bytes are to come back; the last is repeated.
_PAUSES: Final = (0.001, 0.002, 0.004, 0.008, 0.016, 0.03, 0.06, 0.1)


@dataclass(slots=True, eq=False)
class _FirstUse:
    """A load seen alone, whose first inference is still to come. ``serial``: no operation began since."""

    content: Measurable
    before: int
    serial: int


class Windows:
    """``exact``: bytes of one model's own processes, None where they share one."""

    def __init__(
        self,
        *,
        probe: Probe,
        exact: Callable[[str], Awaitable[int | None]],
        sizes: Sizes,
        state: Unattributed,
        attribution: Attribution,
        telling: Telling,
        clock: Clock,
    ) -> None:
        self._probe = probe
        self._exact = exact
        self._sizes = sizes
        self._state = state
        self._attribution = attribution
        self._telling = telling
        self._clock = clock
        self._turns = Turns(_PATIENCE, clock)
        self._answered = 0
        self._first_use: dict[str, _FirstUse] = {}
        self._fell_short: set[str] = set()
        self._apart: set[str] = set()  # models with processes of their own
        self._separate = False  # whether there were such models
        self._in_use: dict[str, Measurable] = {}  # of these, not known yet to have grown or not
        # Of these, the ones that answered requests since they were looked at.
        self._used: set[str] = set()

    def forget(self) -> None:
        """The process is gone, and what was being measured with it."""
        self._first_use.clear()
        self._in_use.clear()

    # -- loads

    @contextlib.asynccontextmanager
    async def loading(
        self, name: str, content: Measurable, replaces: Measurable | None
    ) -> AsyncIterator[None]:
        """Around the call that loads. An error of the load is no sample. ``replaces``: what it swaps out."""
        evidence = self._sizes.evidence(content.digest)
        first = evidence is None or not evidence.measured
        answered = self._answered
        # Where models have processes of their own, company does not disturb.
        async with self._turns.turn(alone=first and not self._separate):
            window = self._attribution.open(self._probe.quick() or 0)
            known = None if first else self._sizes.measured(content, None)
            try:
                yield
                if first and window.within:
                    await self._turns.settled()  # others came in after all: let them end
            except BaseException:
                self._attribution.close(window, None)
                raise
            after = await self._after_load(first)
            quiet = after is not None and answered == self._answered
            change = window.change(after) if quiet and after is not None else None
            self._attribution.close(window, known if change is None else change)
            own = await self._exact(name)
        took = self._without(replaces, change)
        if own is not None:
            self._apart.add(name)
            self._separate = True
            self._sizes.took(content, own)
            self._in_use[name] = content
        elif took is not None and window.before:
            self._sizes.took(content, took)
            self._first_use[name] = _FirstUse(content, window.before, self._attribution.serial)

    def _without(self, replaced: Measurable | None, change: int | None) -> int | None:
        """What the new one takes: the change, and what the old one gave back meanwhile."""
        if replaced is None or change is None:
            return change
        old = self._sizes.measured(replaced, None)
        return None if old is None else change + old

    async def _after_load(self, first: bool) -> int | None:
        if first:
            # Exact, and finds children that the load may have left.
            reading = await self._probe.read()
            return None if reading is None else reading.held
        return self._probe.quick()

    # -- requests

    def used(self, name: str, in_flight: int) -> None:
        """The model answered requests: what its first inference allocated is part of its size."""
        self._answered += 1
        if name in self._in_use:
            self._used.add(name)
        first = self._first_use.get(name)
        if first is None or in_flight:
            return
        del self._first_use[name]
        now = self._probe.quick()
        unmoved = first.serial == self._attribution.serial and self._attribution.quiet
        if now is not None and unmoved:
            self._sizes.took_more(first.content, now - first.before)
            self._telling.measured()

    async def look_at_growth(self) -> None:
        """Find out what models with processes of their own have allocated that were asked for since their load."""
        used, self._used = self._used, set()
        for name in used:
            content = self._in_use.get(name)  # gone when it left meanwhile
            if content is not None and await self._ask_its_process(name, content):
                self._telling.measured()

    async def _ask_its_process(self, name: str, content: Measurable) -> bool:
        """Once more, and no more: some of it comes only with the first request."""
        own = await self._exact(name)
        self._in_use.pop(name, None)
        if own is not None:
            self._sizes.took_more(content, own)
        return own is not None

    # -- unloads

    @contextlib.asynccontextmanager
    async def unloading(self, name: str, content: Measurable | None) -> AsyncIterator[Work]:
        """Around the call that unloads; ends when the bytes are back, or overdue."""
        self._first_use.pop(name, None)
        in_use = self._in_use.pop(name, None)
        if in_use is not None and name in self._apart:
            await self._ask_its_process(name, in_use)  # it may leave before anybody looked
        answered = self._answered
        async with self._turns.turn(alone=False):
            window = self._attribution.open(self._probe.quick() or 0)
            known = None if content is None else self._sizes.measured(content, None)
            try:
                yield Work(measure=False, said=lambda _: None)
                back = await self._seen_back(name, content)
            except BaseException:
                self._attribution.close(window, None)
                raise
            now = self._probe.quick()
            quiet = now is not None and answered == self._answered
            change = window.change(now) if quiet and now is not None else None
            self._attribution.close(window, None if known is None else -known)
        apart = name in self._apart
        self._apart.discard(name)
        if content is not None and change is not None and window.before and not apart:
            self._sizes.gave(content, -change)
        if content is not None:
            (self._fell_short.discard if back else self._fell_short.add)(content.digest)

    async def _seen_back(self, name: str, content: Measurable | None) -> bool:
        """Wait until the process holds no more than the others' charges allow; else withhold what is missing.

        A model's own processes have ended when its unload has: what is held beyond the charges then is others'.
        """
        if name in self._apart:
            return True
        before = content is not None and content.digest in self._fell_short
        deadline = self._clock.now() + (_BACK_AGAIN if before else _BACK)
        for pause in _pauses():
            held = self._probe.quick()
            if held is None or held <= self._state.ceiling(self._telling.charged_beside(name)):
                return True
            if self._clock.now() >= deadline:
                break
            await asyncio.sleep(pause)
        reading = await self._probe.read()
        if reading is None:
            return True
        if self._state.fell_short(reading.held, self._telling.charged_beside(name)):
            self._telling.withhold(self._state.withheld)
            return False
        return True


def _pauses() -> Iterator[float]:
    yield from _PAUSES
    while True:
        yield _PAUSES[-1]
