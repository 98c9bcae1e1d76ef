"""The shell around measuring: a window around every load and unload, and waiting until bytes are seen back.

Theory of operation. There are three kinds of server. Where the server *weighs* (`weigher` has that done), loads are not
looked at, and of some unloads the server itself says what came back: it knows whether it was at rest. Where it keeps a
process per model, that one's size is asked for. Elsewhere a content that was never measured is loaded alone
(`turns`), and its window (`attribution`) is then its own; later loads give samples whenever they happen to be alone,
and none while requests were answered, whose bodies come and go in the same process.

After an unload the process must shrink to what the others are charged with. It is looked at in growing pauses until a
deadline, but only once where the server gives memory back before it answers; what is missing then is withheld from
the budget (`unattributed`). Looking costs 40 microseconds, so nothing waits for it that need not.

Decides nothing about models: it tells sizes and withheld bytes to whom `Telling` names.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Final

from overbook.agent.clock import Clock
from overbook.agent.memory.attribution import Attribution
from overbook.agent.memory.readings import Probe, Reading
from overbook.agent.memory.sizes import Measurable, Sizes
from overbook.agent.memory.turns import Turns
from overbook.agent.memory.unattributed import Unattributed

# Returns of a content that are measured in any case, and after how many unloads one more is.
_ENOUGH: Final = 2
_AGAIN: Final = 16
# Seconds between looks while bytes are to come back; the last is repeated.
_PAUSES: Final = (0.001, 0.002, 0.004, 0.008, 0.016, 0.03, 0.06, 0.1)


@dataclass(frozen=True, slots=True)
class MeterLimits:
    """Seconds. ``back``: how long bytes may take to be seen back, ``back_again``: of what fell short before."""

    patience: float = 2.0
    back: float = 1.5
    back_again: float = 0.05


@dataclass(frozen=True, slots=True)
class Telling:
    """``charged``: bytes of all models in the ledger, with what loads take for a moment, and of one. ``withhold``:
    bytes that no model may have.
    """

    charged: Callable[[], int]
    charged_for: Callable[[str], int]
    withhold: Callable[[int], None]
    measured: Callable[[], None]


@dataclass(slots=True, eq=False)
class _FirstUse:
    """A load seen alone, whose first inference is still to come. ``serial``: no operation began since."""

    content: Measurable
    before: int
    serial: int


@dataclass(frozen=True, slots=True)
class Sampling:
    """``sample``: a request that a model got, by its name. ``sampled``: who wants it, by the content's digest."""

    sample: Callable[[str], Awaitable[bytes | None]]
    sampled: Callable[[str, bytes], None]


@dataclass(frozen=True, slots=True)
class Work:
    """An unload under way. ``measure``: the server shall say what came back, and ``said`` is told that."""

    measure: bool
    said: Callable[[int | None], None]


class Meter:
    """Measures one server replica.

    ``exact``: bytes of one model's own processes, None where they share one. ``weighs``: the server does. ``borrowed``:
    bytes that requests which are being answered may hold, and ``grown`` those that a model allocated since its load, as
    far as the server can tell.
    """

    def __init__(
        self,
        *,
        probe: Probe,
        exact: Callable[[str], Awaitable[int | None]],
        weighs: bool,
        borrowed: Callable[[], Awaitable[int]],
        grown: Callable[[str], Awaitable[int | None]],
        sizes: Sizes,
        clock: Clock,
        state: Unattributed,
        telling: Telling,
        sampling: Sampling,
        limits: MeterLimits | None = None,
    ) -> None:
        self._probe = probe
        self._exact = exact
        self._weighs = weighs
        self._borrowed = borrowed
        self._grown = grown
        self._to_sample: dict[str, Measurable] = {}  # loaded once, and not weighed with a request
        self._used: set[str] = (
            set()
        )  # of these, the ones that answered requests since they were looked at
        self._in_use: dict[str, Measurable] = {}  # loaded, and not known yet to have grown or not
        self._answered = 0
        self._unloads: Counter[str] = Counter()
        self._clock = clock
        self._limits = limits or MeterLimits()
        self._turns = Turns(self._limits.patience, clock)
        self._windows = Attribution()
        self._first_use: dict[str, _FirstUse] = {}
        self._fell_short: set[str] = set()
        self._apart: set[str] = set()  # models with processes of their own
        self._separate = False  # whether there were such models
        self.sizes = sizes
        self.state = state
        self._telling = telling
        self._sampling = sampling

    async def began(self) -> Reading | None:
        """A new, empty process serves: take its base."""
        self._first_use.clear()
        self._in_use.clear()
        reading = await self._probe.read()
        self.state.began(0 if reading is None else reading.held)
        self._probe.peak()
        return reading

    def ended(self) -> None:
        """The process is gone, and what was being measured with it."""
        self._windows.abandon()
        self._first_use.clear()

    # -- loads

    @contextlib.asynccontextmanager
    async def loading(
        self, name: str, content: Measurable, replaces: Measurable | None = None
    ) -> AsyncIterator[None]:
        """Around the call that loads. An error of the load is no sample. ``replaces``: what it swaps out."""
        if self._weighs:
            window = self._windows.open(0)
            try:
                yield
            finally:
                self._windows.close(window, None)
            if self._worth_a_look(content):
                self._in_use[name] = content
            if self._unasked(content):
                self._to_sample[name] = content
            return
        evidence = self.sizes.evidence(content.digest)
        first = evidence is None or not evidence.measured
        answered = self._answered
        # Where models have processes of their own, company does not disturb.
        async with self._turns.turn(alone=first and not self._separate):
            window = self._windows.open(self._probe.quick() or 0)
            known = None if first else self.sizes.measured(content, None)
            try:
                yield
                if first and window.within:
                    await self._turns.settled()  # others came in after all: let them end
            except BaseException:
                self._windows.close(window, None)
                raise
            after = await self._after_load(first)
            quiet = after is not None and answered == self._answered
            change = window.change(after) if quiet and after is not None else None
            self._windows.close(window, known if change is None else change)
            own = await self._exact(name)
        took = self._without(replaces, change)
        if own is not None:
            self._apart.add(name)
            self._separate = True
            self.sizes.took(content, own)
            self._in_use[name] = content
        elif took is not None and window.before:
            self.sizes.took(content, took)
            self._first_use[name] = _FirstUse(content, window.before, self._windows.serial)

    def _without(self, replaced: Measurable | None, change: int | None) -> int | None:
        """What the new one takes: the change, and what the old one gave back meanwhile."""
        if replaced is None or change is None:
            return change
        old = self.sizes.measured(replaced, None)
        return None if old is None else change + old

    async def _after_load(self, first: bool) -> int | None:
        if first:
            # Exact, and finds children that the load may have left.
            reading = await self._probe.read()
            return None if reading is None else reading.held
        return self._probe.quick()

    def used(self, name: str, in_flight: int) -> None:
        """The model answered requests: what its first inference allocated is part of its size."""
        self._answered += 1
        if name in self._in_use or name in self._to_sample:
            self._used.add(name)
        first = self._first_use.get(name)
        if first is None or in_flight:
            return
        del self._first_use[name]
        now = self._probe.quick()
        if now is not None and first.serial == self._windows.serial and self._windows.quiet:
            self.sizes.took_more(first.content, now - first.before)
            self._telling.measured()

    async def look_at_growth(self) -> None:
        """Find out what models have allocated that were asked for since their load."""
        used, self._used = self._used, set()
        for name in used:
            await self._look_for_a_request(name)
            content = self._in_use.get(name)
            if content is None:
                continue  # it left
            known = await (self._grown_apart if name in self._apart else self._grown_beside)(
                name, content
            )
            if known:
                self._telling.measured()

    async def _look_for_a_request(self, name: str) -> None:
        """One that can be asked where its content is weighed; the model itself may have left again by now."""
        content = self._to_sample.get(name)
        if content is None:
            return
        if not self._unasked(content):
            del self._to_sample[name]
            return
        request = await self._sampling.sample(name)
        if request is not None:
            self._to_sample.pop(name, None)
            self._sampling.sampled(content.digest, request)

    def _unasked(self, content: Measurable) -> bool:
        evidence = self.sizes.evidence(content.digest)
        return evidence is None or evidence.weight is None or not evidence.weight.asked

    async def _grown_apart(self, name: str, content: Measurable) -> bool:
        """Its own process is asked once more: some of it comes only with the first request."""
        own = await self._exact(name)
        self._in_use.pop(name, None)
        if own is not None:
            self.sizes.took_more(content, own)
        return own is not None

    async def _grown_beside(self, name: str, content: Measurable) -> bool:
        """The server is asked, which knows whether anybody else was."""
        evidence = self.sizes.evidence(content.digest)
        if evidence is None or evidence.weight is None:
            self._used.add(name)  # until it is weighed
            return False
        grown = await self._grown(name)
        if grown is not None:
            self.sizes.grew(content, grown)
        if not self._worth_a_look(content):
            self._in_use.pop(name, None)
        return grown is not None

    def _worth_a_look(self, content: Measurable) -> bool:
        evidence = self.sizes.evidence(content.digest)
        return self._unasked(content) and (evidence is None or len(evidence.uses) < _ENOUGH)

    # -- unloads

    @contextlib.asynccontextmanager
    async def unloading(self, name: str, content: Measurable | None) -> AsyncIterator[Work]:
        """Around the call that unloads; ends when the bytes are back, or overdue."""
        self._first_use.pop(name, None)
        in_use = self._in_use.pop(name, None)
        if in_use is not None and name in self._apart:
            await self._grown_apart(name, in_use)  # it may leave before anybody looked
        if self._weighs:
            async with self._unloading_at_rest(name, content) as work:
                yield work
            return
        answered = self._answered
        async with self._turns.turn(alone=False):
            window = self._windows.open(self._probe.quick() or 0)
            known = None if content is None else self.sizes.measured(content, None)
            try:
                yield Work(measure=False, said=lambda _: None)
                back = await self._seen_back(name, content)
            except BaseException:
                self._windows.close(window, None)
                raise
            now = self._probe.quick()
            quiet = now is not None and answered == self._answered
            change = window.change(now) if quiet and now is not None else None
            self._windows.close(window, None if known is None else -known)
        apart = name in self._apart
        self._apart.discard(name)
        if content is not None and change is not None and window.before and not apart:
            self.sizes.gave(content, -change)
        if content is not None:
            (self._fell_short.discard if back else self._fell_short.add)(content.digest)

    @contextlib.asynccontextmanager
    async def _unloading_at_rest(
        self, name: str, content: Measurable | None
    ) -> AsyncIterator[Work]:
        """The server gives memory back before it answers, and says how much that was when it is asked to."""
        window = self._windows.open(0)
        try:
            yield Work(self._worth_measuring(content), lambda gave: self._said(content, gave))
        finally:
            self._windows.close(window, None)
        held = self._probe.quick()
        if held is None or held <= self.state.ceiling(self._others(name)):
            return
        if not self._windows.quiet:
            return  # what another load takes for a moment is not lost: `look` compares over time
        held -= await self._borrowed()
        if self.state.fell_short(held, self._others(name)):
            self._telling.withhold(self.state.withheld)

    def _worth_measuring(self, content: Measurable | None) -> bool:
        """It costs the server a moment, so: until there are samples, now and then, and when memory is missing."""
        if content is None:
            return False
        self._unloads[content.digest] += 1
        evidence = self.sizes.evidence(content.digest)
        few = evidence is None or len(evidence.returns) < _ENOUGH
        return few or self.state.withheld > 0 or self._unloads[content.digest] % _AGAIN == 0

    def _said(self, content: Measurable | None, gave: int | None) -> None:
        if content is not None and gave is not None:
            self.sizes.gave(content, gave)

    async def _seen_back(self, name: str, content: Measurable | None) -> bool:
        """Wait until the process holds no more than the others' charges allow; else withhold what is missing.

        A model's own processes have ended when its unload has: what is held beyond the charges then is others'.
        """
        if name in self._apart:
            return True
        before = content is not None and content.digest in self._fell_short
        deadline = self._clock.now() + (self._limits.back_again if before else self._limits.back)
        for pause in _pauses():
            held = self._probe.quick()
            if held is None or held <= self.state.ceiling(self._others(name)):
                return True
            if self._clock.now() >= deadline:
                break
            await asyncio.sleep(pause)
        reading = await self._probe.read()
        if reading is None:
            return True
        if self.state.fell_short(reading.held, self._others(name)):
            self._telling.withhold(self.state.withheld)
            return False
        return True

    def _others(self, name: str) -> int:
        return self._telling.charged() - self._telling.charged_for(name)

    # -- in between

    async def borrowed(self) -> int:
        """Bytes that requests which are being answered may hold by now."""
        return await self._borrowed()

    @property
    def serial(self) -> int:
        """Counts the loads and unloads that began."""
        return self._windows.serial

    @property
    def quiet(self) -> bool:
        """Whether nothing is being loaded or unloaded."""
        return self._windows.quiet

    def undisturbed(self, since: int) -> bool:
        """Whether nothing was loaded or unloaded since ``serial`` was that."""
        return self.quiet and self._windows.serial == since

    def absorb(self) -> None:
        """What is withheld is the server's own."""
        self.state.absorb()
        self._telling.withhold(0)

    async def look(self) -> Reading | None:
        """Compare what the process holds with what is charged, and tell when more or less must be withheld."""
        reading = await self._probe.read()
        telling = self._telling
        if reading is None:
            return None
        held = reading.held
        if held > self.state.ceiling(telling.charged()):
            held -= await self._borrowed()
        if self.state.observe(held, telling.charged(), self._clock.now()):
            telling.withhold(self.state.withheld)
        return reading


def _pauses() -> Iterator[float]:
    yield from _PAUSES
    while True:
        yield _PAUSES[-1]
