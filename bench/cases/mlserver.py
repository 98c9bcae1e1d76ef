"""What Overbook costs a request whose model is hot, against asking the same MLServer directly."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Final

from bench.artifacts import IRIS_BODY, IRIS_ROW, forest
from bench.effort import Effort
from bench.findings import Line, Measured, Section, Target
from bench.grpc_load import latencies, request
from bench.instance import Instance, wait_registered
from bench.samples import Samples, ratios
from bench.stage import Fleet, FleetPlan, Stage, model_manifest
from bench.wrk import Load, run_wrk

PLAN: Final = FleetPlan(registered=160, hot=100)
_TARGET: Final = Target(1.25)
_TREES: Final = 100
_FOREST: Final = "forest"


@dataclass(frozen=True, slots=True)
class _Ways:
    """Ports of 127.0.0.1 to MLServer itself and to Overbook, for REST and gRPC."""

    rest: tuple[int, int]
    grpc: tuple[int, int]


def run(stage: Stage, effort: Effort) -> Section:
    fleet = stage.fleet(PLAN)
    instance = fleet.instance
    _add_forest(stage, fleet)
    ways = _ways(instance)
    lines: list[Line] = []
    for name, model in (("logistic regression", fleet.newest()), ("random forest", _FOREST)):
        instance.ask(model, IRIS_BODY)
        for protocol, measure in (("REST", _rest), ("gRPC", _grpc)):
            direct, mine = measure(ways, model, effort)
            contestants = (Measured("MLServer", direct, "ms"), Measured("Overbook", mine, "ms"))
            what = f"{name}, {protocol}: p50, 1 connection"
            lines.append(Line(what, contestants, ratios(mine, direct), "×", _TARGET))
    instance.control.delete("model", _FOREST)
    return Section(
        title="Hot path to MLServer",
        how=(
            "The same MLServer process, asked directly and through Overbook by turns, by wrk (REST) "
            f"and a Python client (gRPC). {PLAN.hot} models are hot. A logistic regression is about "
            f"the quickest model there is; the forest has {_TREES} trees."
        ),
        lines=tuple(lines),
    )


def _add_forest(stage: Stage, fleet: Fleet) -> None:
    home = forest(stage.folder("forest") / _FOREST, _TREES)
    fleet.instance.apply([model_manifest(_FOREST, home)])
    wait_registered(fleet.instance, fleet.plan.registered + 1)


def _ways(instance: Instance) -> _Ways:
    rest, grpc = (
        int(instance.server_address(protocol).rpartition(":")[2]) for protocol in ("rest", "grpc")
    )
    return _Ways((rest, instance.port), (grpc, instance.port))


def _rest(ways: _Ways, model: str, effort: Effort) -> tuple[Samples, Samples]:
    def turn(port: int) -> float:
        load = Load(json.dumps(IRIS_BODY), model)
        return run_wrk(port, load, connections=1, seconds=effort.load_seconds).p50 / 1000

    return _by_turns(ways.rest, turn, effort)


def _grpc(ways: _Ways, model: str, effort: Effort) -> tuple[Samples, Samples]:
    message = request(model, IRIS_ROW)

    def turn(port: int) -> float:
        return median(latencies(f"127.0.0.1:{port}", message, seconds=effort.load_seconds))

    return _by_turns(ways.grpc, turn, effort)


def _by_turns(
    ports: tuple[int, int], turn: Callable[[int], float], effort: Effort
) -> tuple[Samples, Samples]:
    direct, mine = [], []
    for _ in range(effort.rounds):
        direct.append(turn(ports[0]))
        mine.append(turn(ports[1]))
    return Samples.of(direct), Samples.of(mine)
