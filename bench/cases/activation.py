"""What an activation takes beyond MLServer's own load call, with room free and when a victim must leave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bench.coldness import Cold, take_apart
from bench.effort import Effort
from bench.findings import Line, Measured, Section, Target
from bench.stage import Fleet, FleetPlan, Stage

HUNDRED: Final = FleetPlan(registered=160, hot=100)
THOUSAND: Final = FleetPlan(registered=1060, hot=1000)
_EVICT_SECONDS: Final = 30.0


def run(stage: Stage, effort: Effort) -> Section:
    hundred = stage.fleet(HUNDRED)
    lines = [
        *_lines("room free", take_apart(hundred, _emptied(hundred), effort.samples), Target(10)),
        *_lines(
            "a victim leaves, 100 hot models",
            take_apart(hundred, hundred.cold, effort.samples),
            Target(30),
        ),
    ]
    thousand = stage.fleet(THOUSAND)
    lines += _lines(
        "a victim leaves, 1,000 hot models",
        take_apart(thousand, thousand.cold, effort.samples),
        Target(80),
    )
    return Section(
        title="Activation",
        how=(
            "A request to a cold model, on an otherwise idle Overbook. From its latency are taken a hot "
            "request to the same model and MLServer's own load call of the same artifact in the same "
            "process, made past Overbook right after it: what is left is what Overbook adds."
        ),
        lines=tuple(lines),
    )


def _emptied(fleet: Fleet) -> Callable[[], str]:
    """Makes room by evicting the model used last, which is then the cold one."""

    def choose() -> str:
        model = fleet.newest()
        fleet.instance.control.act("evict", model, timeout=_EVICT_SECONDS)
        return model

    return choose


def _lines(what: str, cold: Cold, target: Target) -> list[Line]:
    parts = (
        Measured("cold request", cold.cold, "ms"),
        Measured("hot request", cold.hot, "ms"),
        Measured("load call", cold.load, "ms"),
    )
    own = (Measured("load call as the agent timed it", cold.agent_load, "ms"),)
    return [
        Line(f"{what}: beyond the load call, p50", parts, cold.beyond, "ms", target),
        Line(f"{what}: beyond the load it waited for, p50", own, cold.beyond_own, "ms"),
    ]
