"""The watch: looks at process and machine again and again, and has done what `guard` and `recycling` say.

Often and cheaply (microseconds) for the guard; seldom and exactly (the tree is walked, milliseconds in which the kernel
does little else on that core) for the books.
Decides nothing itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

from overbook import metrics
from overbook.agent.clock import Clock
from overbook.agent.memory.estimates import NOISE
from overbook.agent.memory.gpu import Gpus
from overbook.agent.memory.guard import CALM, Bounds, Pressure, Sample, decide, margin_of
from overbook.agent.memory.machine import Room
from overbook.agent.memory.meter import Meter
from overbook.agent.memory.readings import Reading
from overbook.agent.memory.recycling import Advice, Recycling
from overbook.agent.memory.sizes import Measurable
from overbook.agent.memory.unattributed import slack_of
from overbook.agent.notices import Notices
from overbook.manifests.quantities import amount

# Seconds between quick looks while there is traffic, and without any.
_QUICK: Final = 0.25
_CALM: Final = 1.0
# Seconds between exact looks while models move, and when nothing does.
_EXACT: Final = 2.0
_EXACT_IDLE: Final = 15.0
RETRY_AFTER: Final = 2.0


class Residents(Protocol):
    """The models in memory, as far as the watch has to do with them. Bytes."""

    @property
    def budget(self) -> int: ...

    @property
    def charged_bytes(self) -> int: ...

    @property
    def overdrawn(self) -> int:
        """What loads under way take for a moment beyond what they are charged."""
        ...

    def resident_contents(self) -> list[tuple[Measurable, int]]:
        """What is loaded, and what each is charged."""
        ...

    def take_used(self) -> list[Measurable | None]:
        """Of the models used since the last call."""
        ...

    def guard(self, withheld: int, refusing: str) -> None:
        """What the guard keeps from the models; ``refusing``: why nothing is activated, empty when it is."""
        ...

    def catch_up(self) -> None:
        """Charge what could not be charged when it was found out."""
        ...

    def starved(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class WatchPorts:
    """``serving``: an inference server runs that can be looked at. ``recycle``: replace its process, and why.

    ``recycling``: that is under way, so whoever waits had better wait on.
    """

    residents: Residents
    meter: Meter
    notices: Notices
    clock: Clock
    gpus: Gpus
    room: Callable[[], Room | None]
    quick: Callable[[], int | None]
    peak: Callable[[], int | None]
    members: Callable[[], tuple[int, ...]]
    serving: Callable[[], bool]
    recycle: Callable[[str], None]
    recycling: Callable[[], bool]
    report: Callable[[Reading | None], bool]


class Watch:
    """One server replica's. `run` it, or `tick` it."""

    def __init__(self, ports: WatchPorts, recycling: Recycling) -> None:
        self._ports = ports
        self._recycling = recycling
        self._pressure: Pressure = CALM
        self._next_exact = 0.0
        self._unexplained = 0
        self._reserve = 0
        self._borrowed = 0
        self._serial = -1
        self._busy = True

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self.tick()
            await asyncio.sleep(_QUICK if self._busy or self._pressure.room is not None else _CALM)

    def guard_again(self) -> None:
        """The guard's quick look, now."""
        held = self._ports.quick() if self._ports.serving() else None
        if held is not None:
            self._guard(held - self._borrowed, self._ports.clock.now())

    async def tick(self) -> None:
        """One look."""
        ports, now = self._ports, self._ports.clock.now()
        serving = ports.serving()
        held = ports.quick() if serving else None
        if not serving:
            self._pressure = CALM  # the next process begins anew
        if held is not None:
            # What requests hold while they are answered is nobody's to evict for.
            much = held > self._allowed() + self._reserve
            self._borrowed = await ports.meter.borrowed() if much else 0
            self._guard(held - self._borrowed, now)
            self._learn_peak(held)
            await ports.meter.look_at_growth()
        unexplained = (held or 0) - ports.residents.charged_bytes
        if self._busy:
            self._next_exact = min(self._next_exact, now + _EXACT)
        if now >= self._next_exact or (serving and self._surprising(unexplained)):
            await self._look(serving)
            self._next_exact = now + (_EXACT if self._busy else _EXACT_IDLE)
            self._unexplained = unexplained

    def _surprising(self, unexplained: int) -> bool:
        """Whether the process holds much more or less than models that came and went since the last exact look say.

        While one loads it is not known yet what that explains.
        """
        meter = self._ports.meter
        return meter.quiet and abs(unexplained - self._unexplained) > meter.state.slack

    def _allowed(self) -> int:
        """Bytes that the process may hold while nobody is asked."""
        residents, state = self._ports.residents, self._ports.meter.state
        state.slack = slack_of(residents.budget)
        return state.base + state.slack + residents.budget + residents.overdrawn

    def _guard(self, held: int, now: float) -> None:
        ports, before = self._ports, self._pressure
        room = ports.room()
        if room is None:
            return
        bounds = Bounds(
            budget=ports.residents.budget,
            allowed=self._allowed(),
            reserve=self._reserve,
            margin=margin_of(room.total),
        )
        sample = Sample(held, ports.residents.charged_bytes, room.available)
        self._pressure = decide(sample, bounds, before, now)
        if ports.recycling():
            self._pressure = replace(self._pressure, refusing=False)
        if self._pressure != before:
            self._act(before, sample, bounds)

    def _act(self, before: Pressure, sample: Sample, bounds: Bounds) -> None:
        after, ports = self._pressure, self._ports
        numbers = (
            f"the inference server holds {amount(sample.held)} of at most "
            f"{amount(bounds.allowed + bounds.reserve)}, {amount(sample.available)} are available to it, "
            f"of which {amount(bounds.low)} must stay free"
        )
        refusing = f"memory is running short: {numbers}" if after.refusing else ""
        ports.residents.guard(after.withheld(bounds.budget), refusing)
        metrics.PRESSURE.labels(*ports.notices.labels).set(
            0 if after.room is None else 2 if after.refusing else 1
        )
        if before.room is None and after.room is not None:
            ports.notices.server_event("MemoryPressure", f"evicting: {numbers}", warning=True)
        elif after.refusing and not before.refusing:
            told = f"activations are refused: {numbers}"
            ports.notices.server_event("MemoryExhausted", told, warning=True)
        elif after.room is None:
            ports.notices.server_event("MemoryPressureOver", numbers)

    def _learn_peak(self, held: int) -> None:
        """What inference took on top, when it can only have been that of one model."""
        ports = self._ports
        peak, used = ports.peak(), ports.residents.take_used()
        alone = ports.meter.undisturbed(self._serial)
        self._serial = ports.meter.serial
        self._busy = bool(used) or not alone
        if peak is None or len(used) != 1 or used[0] is None or not alone:
            return
        over = peak - held
        ports.meter.sizes.peaked(used[0], over if over > NOISE else 0)

    async def _look(self, serving: bool) -> None:
        ports = self._ports
        reading = await ports.meter.look() if serving else None
        self._busy = ports.report(reading) or self._busy
        ports.meter.sizes.save()
        ports.residents.catch_up()
        if reading is None:
            return
        self._export(reading)
        # What requests hold is not known to the byte: as long as it is much, little is proven lost.
        self._recycle(await ports.meter.borrowed() if ports.meter.state.withheld else 0)

    def _export(self, reading: Reading) -> None:
        ports, labels = self._ports, self._ports.notices.labels
        metrics.PROCESS_BYTES.labels(*labels).set(reading.total)
        metrics.WITHHELD_BYTES.labels(*labels).set(ports.meter.state.withheld)
        for device in ports.gpus.read(ports.members()):
            number = str(device.device)
            metrics.GPU_BYTES.labels(*labels, number, "used").set(device.used)
            if device.held is not None:
                metrics.GPU_BYTES.labels(*labels, number, "held").set(device.held)

    def _recycle(self, borrowed: int) -> None:
        ports, state = self._ports, self._ports.meter.state
        under = 0
        self._reserve = 0
        for content, charged in ports.residents.resident_contents():
            evidence = ports.meter.sizes.evidence(content.digest)
            if evidence is not None:
                self._reserve = max(self._reserve, evidence.peak)
                under += max(0, (ports.meter.sizes.measured(content, None) or 0) - charged)
        # What resident models take beyond their charge is not lost: it goes with them.
        lost = max(0, state.withheld - under - borrowed)
        advice = self._recycling.advise(
            lost,
            ports.residents.budget,
            starved=ports.residents.starved(),
            now=ports.clock.now(),
        )
        if advice is Advice.RECYCLE:
            ports.recycle(f"{amount(lost)} of its memory was not given back by models that left")
        elif advice is Advice.ABSORB:
            told = f"{amount(lost)} came back at once in the new process and are its own"
            ports.notices.server_event("ServerBaseGrew", told)
            ports.meter.absorb()
