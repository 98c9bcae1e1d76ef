"""What an Overbook that nobody asks for anything costs in CPU time."""

from __future__ import annotations

import time
from typing import Final

from bench.cases.activation import THOUSAND
from bench.effort import Effort
from bench.findings import Line, Section, Target, single
from bench.processes import cpu_seconds, tree
from bench.samples import Samples
from bench.stage import Fleet, FleetPlan, Stage

EMPTY: Final = FleetPlan(registered=0, hot=0)
_TARGET: Final = Target(3.0)
# What the last benchmark left to be done is done, and the meters have fallen into their slow pace.
_SETTLE_SECONDS: Final = 20.0


def run(stage: Stage, effort: Effort) -> Section:
    stage.fleet(EMPTY)
    stage.fleet(THOUSAND)
    watches = [_Watch(fleet) for fleet in stage.fleets()]
    time.sleep(_SETTLE_SECONDS)
    for _ in range(effort.rounds):
        for watch in watches:
            watch.begin()
        time.sleep(effort.idle_seconds)
        for watch in watches:
            watch.end()
    lines = [line for watch in watches for line in watch.lines()]
    return Section(
        title="Idle",
        how=(
            "CPU time of all processes of `overbook up` while nobody asks for anything, in percent of "
            f"one core, over {effort.rounds} times {effort.idle_seconds:.0f} s."
        ),
        lines=tuple(lines),
    )


class _Watch:
    """One fleet's CPU time, with and without its inference server."""

    def __init__(self, fleet: Fleet) -> None:
        self._plan = fleet.plan
        self._own = fleet.instance.own_processes()
        self._server = tree(fleet.instance.server_pid())
        self._began = (0.0, 0.0, 0.0)
        self._percent: list[tuple[float, float]] = []

    def begin(self) -> None:
        self._began = (time.perf_counter(), cpu_seconds(self._own), cpu_seconds(self._server))

    def end(self) -> None:
        began, own, server = self._began
        seconds = time.perf_counter() - began
        mine = (cpu_seconds(self._own) - own) / seconds * 100
        theirs = (cpu_seconds(self._server) - server) / seconds * 100
        self._percent.append((mine, mine + theirs))

    def lines(self) -> list[Line]:
        what = f"{self._plan.registered:,} registered, {self._plan.hot:,} hot"
        mine = Samples.of([each[0] for each in self._percent])
        whole = Samples.of([each[1] for each in self._percent])
        return [
            single(f"{what}: without MLServer", mine, "%"),
            single(f"{what}: with MLServer", whole, "%", _TARGET),
        ]
