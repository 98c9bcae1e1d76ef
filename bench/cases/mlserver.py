"""What Overbook costs a request whose model is hot, against asking the same MLServer directly."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from typing import Final

from bench.artifacts import IRIS_BODY, IRIS_ROW, forest
from bench.bare_envoy import running_bare_envoy
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
_TURN_SECONDS: Final = 1


@dataclass(frozen=True, slots=True)
class _Ports:
    """Ports of 127.0.0.1 that lead to one protocol of one MLServer."""

    direct: int
    bare: int
    overbook: int


def run(stage: Stage, effort: Effort) -> Section:
    fleet = stage.fleet(PLAN)
    instance = fleet.instance
    _add_forest(stage, fleet)
    lines: list[Line] = []
    with _ways(stage, instance, http2=False) as rest, _ways(stage, instance, http2=True) as grpc:
        for name, model in (("logistic regression", fleet.newest()), ("random forest", _FOREST)):
            instance.ask(model, IRIS_BODY)
            lines += _lines(f"{name}, REST", rest, _rest(model), effort)
            lines += _lines(f"{name}, gRPC", grpc, _grpc(model), effort)
    instance.control.delete("model", _FOREST)
    return Section(
        title="Hot path to MLServer",
        how=(
            "p50 at one connection. The same MLServer process is asked directly, through Overbook "
            "and, to show what any proxy costs here, through a bare Envoy with one static route, by "
            "turns, by wrk (REST) and by a Python client (gRPC). Directly and bare means MLServer's own ports; "
            "Overbook asks the endpoint that our launcher opens for gateways (docs/adr/0006). "
            f"{PLAN.hot} models are hot. The logistic regression on four numbers is about the quickest "
            f"model there is; the forest has {_TREES} trees."
        ),
        lines=tuple(lines),
    )


def _add_forest(stage: Stage, fleet: Fleet) -> None:
    home = forest(stage.folder("forest") / _FOREST, _TREES)
    fleet.instance.apply([model_manifest(_FOREST, home)])
    wait_registered(fleet.instance, fleet.plan.registered + 1)


@contextlib.contextmanager
def _ways(stage: Stage, instance: Instance, *, http2: bool) -> Iterator[_Ports]:
    direct = int(instance.server_address("grpc" if http2 else "rest").rpartition(":")[2])
    with running_bare_envoy(stage.folder("envoy"), direct, http2=http2) as bare:
        yield _Ports(direct=direct, bare=bare.port, overbook=instance.port)


def _rest(model: str) -> Callable[[int], float]:
    load = Load(json.dumps(IRIS_BODY), model)
    return lambda port: run_wrk(port, load, connections=1, seconds=_TURN_SECONDS).p50 / 1000


def _grpc(model: str) -> Callable[[int], float]:
    message = request(model, IRIS_ROW)
    return lambda port: median(latencies(f"127.0.0.1:{port}", message, seconds=_TURN_SECONDS))


def _lines(what: str, ports: _Ports, turn: Callable[[int], float], effort: Effort) -> list[Line]:
    rounds = [
        (turn(ports.direct), turn(ports.bare), turn(ports.overbook)) for _ in range(effort.rounds)
    ]
    direct, bare, mine = (Samples.of(column) for column in zip(*rounds, strict=True))
    reference = Measured("MLServer", direct, "ms")
    return [
        Line(
            f"{what}: Overbook",
            (reference, Measured("Overbook", mine, "ms")),
            ratios(mine, direct),
            "×",
            _TARGET,
        ),
        Line(
            f"{what}: bare Envoy",
            (reference, Measured("bare Envoy", bare, "ms")),
            ratios(bare, direct),
            "×",
        ),
    ]
