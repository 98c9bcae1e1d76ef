"""The shell around measuring: it stands around every load and unload, and looks at the process in between.

There are two ways to measure. Where the server weighs contents, it also says itself what came back and what models have
allocated (`at_rest`); all others are seen from outside (`windows`), as a whole or by each model's own processes.

Decides nothing about models: it tells sizes and withheld bytes to whom `Telling` names.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

from overbook.agent.clock import Clock
from overbook.agent.memory.at_rest import AtRest
from overbook.agent.memory.attribution import Attribution
from overbook.agent.memory.readings import Probe, Reading
from overbook.agent.memory.sizes import Measurable, Sizes
from overbook.agent.memory.telling import Sampling, Telling, Work
from overbook.agent.memory.unattributed import Unattributed
from overbook.agent.memory.windows import Windows


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
    ) -> None:
        self._probe = probe
        self._borrowed = borrowed
        self._clock = clock
        self._telling = telling
        self._attribution = attribution = Attribution()
        self.sizes = sizes
        self.state = state
        self._way: AtRest | Windows = (
            AtRest(
                probe=probe,
                borrowed=borrowed,
                grown=grown,
                sizes=sizes,
                state=state,
                attribution=attribution,
                telling=telling,
                sampling=sampling,
            )
            if weighs
            else Windows(
                probe=probe,
                exact=exact,
                sizes=sizes,
                state=state,
                attribution=attribution,
                telling=telling,
                clock=clock,
            )
        )

    async def began(self) -> Reading | None:
        """A new, empty process serves: take its base."""
        self._way.forget()
        reading = await self._probe.read()
        self.state.began(0 if reading is None else reading.held)
        self._probe.peak()
        return reading

    def ended(self) -> None:
        """The process is gone, and what was being measured with it."""
        self._attribution.abandon()
        self._way.forget()

    def loading(
        self, name: str, content: Measurable, replaces: Measurable | None = None
    ) -> AbstractAsyncContextManager[None]:
        """Around the call that loads. An error of the load is no sample. ``replaces``: what it swaps out."""
        return self._way.loading(name, content, replaces)

    def unloading(self, name: str, content: Measurable | None) -> AbstractAsyncContextManager[Work]:
        """Around the call that unloads; ends when the bytes are back, or overdue."""
        return self._way.unloading(name, content)

    def used(self, name: str, in_flight: int) -> None:
        """The model answered requests: what it allocated for them is part of its size."""
        self._way.used(name, in_flight)

    async def look_at_growth(self) -> None:
        """Find out what models have allocated that were asked for since their load."""
        await self._way.look_at_growth()

    # -- in between

    async def borrowed(self) -> int:
        """Bytes that requests which are being answered may hold by now."""
        return await self._borrowed()

    @property
    def serial(self) -> int:
        """Counts the loads and unloads that began."""
        return self._attribution.serial

    @property
    def quiet(self) -> bool:
        """Whether nothing is being loaded or unloaded."""
        return self._attribution.quiet

    def undisturbed(self, since: int) -> bool:
        """Whether nothing was loaded or unloaded since ``serial`` was that."""
        return self.quiet and self.serial == since

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
