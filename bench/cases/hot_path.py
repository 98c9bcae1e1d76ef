"""What the gateway costs a request whose model is hot, against the same Envoy with one static route."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import psutil

from bench.artifacts import IRIS_BODY
from bench.bare_envoy import running_bare_envoy
from bench.effort import Effort
from bench.findings import Line, Measured, Section, Target
from bench.hot_gateway import model_name, running_hot_gateway
from bench.processes import cpu_seconds
from bench.samples import Samples, ratios
from bench.stage import Stage
from bench.upstream import running_upstream
from bench.wrk import Load, Outcome, run_wrk

HOT_MODELS: Final = 1000
_LATENCY: Final = Target(1.15)
_THROUGHPUT: Final = Target(0.9, at_least=True)
_ONE: Final = Load(json.dumps(IRIS_BODY), model_name(0))
_ALL: Final = Load(json.dumps(IRIS_BODY), "m", HOT_MODELS)


@dataclass(frozen=True, slots=True)
class _Turn:
    outcome: Outcome
    cpu_micros: float


@dataclass(frozen=True, slots=True)
class _Contestant:
    name: str
    envoy: int
    port: int

    def turn(self, load: Load, connections: int, seconds: int) -> _Turn:
        process = [psutil.Process(self.envoy)]
        before = cpu_seconds(process)
        outcome = run_wrk(self.port, load, connections=connections, seconds=seconds)
        return _Turn(outcome, (cpu_seconds(process) - before) / outcome.requests * 1e6)


def run(stage: Stage, effort: Effort) -> Section:
    folder = stage.folder("hot")
    with (
        running_upstream(folder / "nginx") as upstream,
        running_bare_envoy(folder / "envoy", upstream) as bare,
        running_hot_gateway(upstream, HOT_MODELS, IRIS_BODY) as gateway,
    ):
        contestants = (
            _Contestant("bare Envoy", bare.pid, bare.port),
            _Contestant("Overbook", gateway.envoy_pid, gateway.port),
        )
        turns = _measure(contestants, effort)
    lines = [
        *_lines("always the same model", turns, _ONE, judged=True),
        *_lines("all models in turn", turns, _ALL, judged=False),
    ]
    return Section(
        title=f"Hot path, {HOT_MODELS:,} hot models",
        how=(
            "wrk sends inference requests over HTTP/1.1 through the gateway, which has "
            f"{HOT_MODELS:,} hot models, and through a bare Envoy with one static route: the same "
            "binary, the same number of worker threads, the same upstream (nginx with a fixed answer)."
        ),
        lines=tuple(lines),
        notes=(
            "The targets are about requests to one model. With all models in turn, every model has "
            "connections of its own to the upstream, where the bare Envoy has one pool.",
        ),
    )


_Key = tuple[str, Load, int]


def _measure(contestants: Sequence[_Contestant], effort: Effort) -> dict[_Key, list[_Turn]]:
    turns: defaultdict[_Key, list[_Turn]] = defaultdict(list)
    # The first turn of each is not counted: connections are made, pages are touched.
    for counted in [False, *[True] * effort.rounds]:
        for load in (_ONE, _ALL):
            for connections in (1, 32):
                for contestant in contestants:
                    turn = contestant.turn(load, connections, effort.load_seconds)
                    if counted:
                        turns[contestant.name, load, connections].append(turn)
    return turns


def _lines(what: str, turns: dict[_Key, list[_Turn]], load: Load, *, judged: bool) -> list[Line]:
    def both(connections: int, field: str) -> tuple[Samples, Samples]:
        bare, mine = (
            Samples.of([_field(turn, field) for turn in turns[name, load, connections]])
            for name in ("bare Envoy", "Overbook")
        )
        return bare, mine

    latency = _LATENCY if judged else None
    throughput = _THROUGHPUT if judged else None
    return [
        _line(f"{what}: p50, 1 connection", *both(1, "p50"), "µs", latency),
        _line(f"{what}: p99, 1 connection", *both(1, "p99"), "µs", None),
        _line(f"{what}: throughput, 32 connections", *both(32, "per_second"), "/s", throughput),
        _line(f"{what}: Envoy's CPU per request, 32 connections", *both(32, "cpu"), "µs", None),
    ]


def _field(turn: _Turn, field: str) -> float:
    match field:
        case "p50":
            return turn.outcome.p50
        case "p99":
            return turn.outcome.p99
        case "per_second":
            return turn.outcome.per_second
        case _:
            return turn.cpu_micros


def _line(what: str, bare: Samples, mine: Samples, unit: str, target: Target | None) -> Line:
    contestants = (Measured("bare Envoy", bare, unit), Measured("Overbook", mine, unit))
    return Line(what, contestants, ratios(mine, bare), "×", target)
