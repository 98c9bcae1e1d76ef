"""What asking for a token costs a request whose model is hot, against the same gateway that asks nobody."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import psutil

from bench.artifacts import IRIS_BODY
from bench.effort import Effort
from bench.findings import Line, Measured, Section, Target
from bench.hot_gateway import HotGateway, model_name, running_hot_gateway, token
from bench.processes import cpu_seconds
from bench.samples import Samples, ratios
from bench.stage import Stage
from bench.upstream import running_upstream
from bench.wrk import Load, Outcome, run_wrk

_MODELS: Final = 100
_LATENCY: Final = Target(1.05)
_THROUGHPUT: Final = Target(0.95, at_least=True)
# How many tokens there are; the first asks nobody.
_TOKENS: Final = (0, 1, 1000)
_NAMES: Final = {0: "no token", 1: "1 token", 1000: "1,000 tokens"}
_CONNECTIONS: Final = (1, 32)


@dataclass(frozen=True, slots=True)
class _Turn:
    outcome: Outcome
    cpu_micros: float


@dataclass(frozen=True, slots=True)
class _Contestant:
    """``tokens``: how many there are to be asked for."""

    tokens: int
    gateway: HotGateway

    def turn(self, models: int, connections: int, seconds: int) -> _Turn:
        # Not the first, should it ever matter which one it is.
        shown = token(self.tokens // 2) if self.tokens else ""
        name = model_name(0) if models == 1 else "m"
        load = Load(json.dumps(IRIS_BODY), name, models, token=shown)
        envoy = [psutil.Process(self.gateway.envoy_pid)]
        before = cpu_seconds(envoy)
        outcome = run_wrk(self.gateway.port, load, connections=connections, seconds=seconds)
        return _Turn(outcome, (cpu_seconds(envoy) - before) / outcome.requests * 1e6)


def run(stage: Stage, effort: Effort) -> Section:
    folder = stage.folder("tokens")
    with ExitStack() as stack:
        upstream = stack.enter_context(running_upstream(folder / "nginx"))
        contestants = [
            _Contestant(
                tokens,
                stack.enter_context(
                    running_hot_gateway(upstream, _MODELS, IRIS_BODY, tokens=tokens)
                ),
            )
            for tokens in _TOKENS
        ]
        turns = _measure(contestants, effort)
    return Section(
        title=f"Tokens, {_MODELS} hot models",
        how=(
            "wrk sends inference requests over HTTP/1.1 through gateways that differ in nothing but the tokens that "
            "they ask for: none, one of 1, one of 1,000; to the same upstream (nginx with a fixed answer), by turns. "
            "Requests show a token where one is asked for."
        ),
        lines=tuple(
            line
            for what, models, judged in (
                ("always the same model", 1, True),
                ("all models in turn", _MODELS, False),
            )
            for tokens in _TOKENS[1:]
            for line in _lines(f"{what}, {_NAMES[tokens]}", turns, models, tokens, judged=judged)
        ),
        notes=(
            "A model that is asked more than 50 times a second has a route of its own: the targets are about that.",
        ),
    )


_Key = tuple[int, int, int]


def _measure(contestants: Sequence[_Contestant], effort: Effort) -> dict[_Key, list[_Turn]]:
    turns: defaultdict[_Key, list[_Turn]] = defaultdict(list)
    # The first turn of each is not counted: connections are made, pages are touched.
    for counted in [False, *[True] * effort.rounds]:
        for models in (1, _MODELS):
            for connections in _CONNECTIONS:
                for each in contestants:
                    outcome = each.turn(models, connections, effort.load_seconds)
                    if counted:
                        turns[each.tokens, models, connections].append(outcome)
    return turns


def _lines(
    what: str, turns: dict[_Key, list[_Turn]], models: int, tokens: int, *, judged: bool
) -> list[Line]:
    one, many = _CONNECTIONS

    def both(connections: int, read: Callable[[_Turn], float]) -> tuple[Samples, Samples]:
        without, asked = (
            Samples.of([read(each) for each in turns[count, models, connections]])
            for count in (0, tokens)
        )
        return without, asked

    p50 = both(one, lambda turn: turn.outcome.p50)
    rate = both(many, lambda turn: turn.outcome.per_second)
    cpu = both(many, lambda turn: turn.cpu_micros)
    latency, throughput = (_LATENCY, _THROUGHPUT) if judged else (None, None)
    return [
        _line(f"{what}: p50, 1 connection", tokens, *p50, "µs", latency),
        _line(f"{what}: throughput, {many} connections", tokens, *rate, "/s", throughput),
        _line(f"{what}: Envoy's CPU per request", tokens, *cpu, "µs", None),
    ]


def _line(
    what: str, tokens: int, without: Samples, asked: Samples, unit: str, target: Target | None
) -> Line:
    contestants = (Measured(_NAMES[0], without, unit), Measured(_NAMES[tokens], asked, unit))
    return Line(what, contestants, ratios(asked, without), "×", target)
