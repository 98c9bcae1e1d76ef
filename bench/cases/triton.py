"""Triton behind Overbook: hot path, cold loads of ONNX on both servers, what the loads of one do to the other."""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import numpy as np

from bench.artifacts import IRIS_BODY, forest
from bench.bare_envoy import running_bare_envoy
from bench.documents import model_document, server_document
from bench.effort import Effort
from bench.findings import Line, Measured, Section, Target, single
from bench.grpc_load import latencies
from bench.instance import Instance, running, wait_registered
from bench.large import large_model, matrix, wide_request
from bench.loading import load_time, loading_without_pause
from bench.samples import Samples, ratios
from bench.stage import Stage
from bench.wrk import Load, run_wrk
from overbook.wire import oip_pb2

_P50, _THROUGHPUT = Target(1.25), Target(0.85, at_least=True)
_TRITON_COLD, _MLSERVER_COLD = Target(500.0), Target(40.0)
_ISOLATION: Final = Target(1.5)
_TURN_SECONDS: Final = 2
_TAIL_SECONDS: Final = 6
_CONNECTIONS: Final = 16
_MB: Final = 1_000_000
_EVICT_SECONDS: Final = 30.0
_TREES: Final = 20
# The least there is, and one whose inference takes some milliseconds, as models that earn their keep do.
_HOT: Final = {"small": 40_000, "busy": 24_000_000}


@dataclass(frozen=True, slots=True)
class _Way:
    """Ports of 127.0.0.1 that lead to Triton, by protocol."""

    rest: int
    grpc: int


@dataclass(frozen=True, slots=True)
class _Question:
    """``ask``: one turn's figure, in ``unit``; ``target``: of the ratio to asking Triton directly."""

    what: str
    unit: str
    target: Target
    ask: Callable[[_Way], float]


def run(stage: Stage, effort: Effort) -> Section:
    homes = stage.folder("homes")
    with running(stage.folder("up")) as instance:
        _apply(instance, homes, megabytes=20 if effort.quick else 100)
        with _bare(stage, instance) as bare:
            small = _hot_path(instance, effort, "small", bare)
        lines = [
            *small,
            *_hot_path(instance, effort, "busy"),
            *_cold(instance, effort),
            *_isolation(instance, effort),
        ]
    return Section(
        title="Triton, and two servers side by side",
        how=(
            "The pip-only Triton with our ONNX backend, asked directly and through Overbook by turns: an "
            "ONNX model that answers at once (small) and one that takes some milliseconds (busy), by wrk (REST) "
            "and by a Python client (gRPC). Before the small one stands by turns also a bare Envoy with one static "
            "route, to show what any proxy costs there. Cold loads are caused by requests, after "
            "an eviction. For the last lines large models load without pause on one server while a small model "
            "on the other is asked by one client."
        ),
        lines=tuple(lines),
        notes=(
            "The small model is answered so soon that one more hop is always seen beside it. How much of that any "
            "proxy costs is what the bare Envoy shows; what lies between the two is Overbook's own.",
        ),
    )


def _apply(instance: Instance, homes: Path, *, megabytes: int) -> None:
    hot = {name: homes / name for name in _HOT}
    for name, size in _HOT.items():
        matrix(hot[name], size)
    small = hot["small"]
    large = large_model("onnx", homes / "large", megabytes).home
    big = int(megabytes * 1.5 * _MB) + 120 * _MB
    documents = [
        server_document("mlserver", memory=int(1.5 * big)),
        server_document("triton", memory=int(1.5 * big) + 350 * _MB),
        model_document(
            "hot-mlserver", forest(homes / "forest", _TREES), ["sklearn"], memory=_MB, pinned=True
        ),
        *(
            model_document(_hot_name(name), home, ["onnx", "triton"], memory=80 * _MB, pinned=True)
            for name, home in hot.items()
        ),
        model_document("cold-triton", small, ["onnx", "triton"], memory=40 * _MB),
        model_document("cold-mlserver", small, ["onnx"], memory=_MB),
    ]
    for server in ("mlserver", "triton"):
        for number in range(2):
            name = f"big{number}-{server}"
            documents.append(model_document(name, large, ["onnx", server], memory=big))
    instance.apply(documents)
    wait_registered(instance, len(documents) - 2)
    instance.ask("hot-mlserver", IRIS_BODY)
    for name in _HOT:
        instance.ask(_hot_name(name), wide_request())


def _hot_name(name: str) -> str:
    return f"hot-triton-{name}"


def _hot_path(
    instance: Instance, effort: Effort, name: str, bare: _Way | None = None
) -> list[Line]:
    """``bare``: measured too, for reference; its lines have no target."""
    ways = {"Triton": _direct(instance), "Overbook": _Way(instance.port, instance.port)}
    if bare is not None:
        ways["bare Envoy"] = bare
    questions = _questions(_hot_name(name))
    taken: dict[tuple[str, str], list[float]] = defaultdict(list)
    for _ in range(effort.rounds):
        # All ways for one question before the next one: what is compared lies close together in time.
        for question in questions:
            for who, way in ways.items():
                taken[question.what, who].append(question.ask(way))
    lines = []
    for question in questions:
        direct, *others = (
            Measured(who, Samples.of(taken[question.what, who]), question.unit) for who in ways
        )
        for other in others:
            target = question.target if other.name == "Overbook" else None
            what = f"{name} ONNX, {question.what}: {other.name}"
            figure = ratios(other.samples, direct.samples)
            lines.append(Line(what, (direct, other), figure, "×", target))
    return lines


def _questions(model: str) -> list[_Question]:
    load = Load(json.dumps(wide_request()), model)
    message = oip_pb2.ModelInferRequest(model_name=model)
    message.inputs.add(name="x", datatype="FP32", shape=[1, 4])
    message.raw_input_contents.append(np.array([0.1, -0.2, 0.3, 0.4], np.float32).tobytes())

    def rest(way: _Way) -> float:
        return run_wrk(way.rest, load, connections=1, seconds=_TURN_SECONDS).p50 / 1000

    def grpc(way: _Way) -> float:
        return median(latencies(f"127.0.0.1:{way.grpc}", message, seconds=_TURN_SECONDS))

    def many(way: _Way) -> float:
        outcome = run_wrk(way.rest, load, connections=_CONNECTIONS, seconds=_TURN_SECONDS)
        return outcome.per_second

    return [
        _Question("REST: p50, 1 connection", "ms", _P50, rest),
        _Question("gRPC: p50, 1 connection", "ms", _P50, grpc),
        _Question(f"REST: throughput, {_CONNECTIONS} connections", "/s", _THROUGHPUT, many),
    ]


def _direct(instance: Instance) -> _Way:
    rest, grpc = (instance.address_of("triton", protocol) for protocol in ("rest", "grpc"))
    return _Way(int(rest.rpartition(":")[2]), int(grpc.rpartition(":")[2]))


@contextlib.contextmanager
def _bare(stage: Stage, instance: Instance) -> Iterator[_Way]:
    """A bare Envoy for each protocol, in front of the same Triton."""
    direct = _direct(instance)
    with (
        running_bare_envoy(stage.folder("envoy"), direct.rest) as rest,
        running_bare_envoy(stage.folder("envoy"), direct.grpc, http2=True) as grpc,
    ):
        yield _Way(rest.port, grpc.port)


def _cold(instance: Instance, effort: Effort) -> list[Line]:
    lines = []
    for server, target in (("triton", _TRITON_COLD), ("mlserver", _MLSERVER_COLD)):
        model = f"cold-{server}"
        taken = []
        instance.ask(model, wide_request())
        for _ in range(max(5, effort.samples // 4)):
            instance.control.act("evict", model, timeout=_EVICT_SECONDS)
            taken.append(load_time(instance, model, wide_request()))
        lines.append(
            single(
                f"cold load of a small ONNX model, {server}: p50", Samples.of(taken), "ms", target
            )
        )
    return lines


def _isolation(instance: Instance, effort: Effort) -> list[Line]:
    lines = []
    for server, other in (("mlserver", "triton"), ("triton", "mlserver")):
        body, model = (
            (IRIS_BODY, "hot-mlserver")
            if server == "mlserver"
            else (wide_request(), _hot_name("small"))
        )
        load = Load(json.dumps(body), model)
        quiet, busy = [], []
        for _ in range(effort.rounds):
            quiet.append(_p99(instance, load))
            models = [f"big{number}-{other}" for number in range(2)]
            with loading_without_pause(instance, models, wide_request()):
                busy.append(_p99(instance, load))
        calm, loaded = Samples.of(quiet), Samples.of(busy)
        contestants = (Measured("quiet", calm, "ms"), Measured(f"{other} loads", loaded, "ms"))
        what = f"p99 of a hot model on {server} while {other} loads"
        lines.append(Line(what, contestants, ratios(loaded, calm), "×", _ISOLATION))
    return lines


def _p99(instance: Instance, load: Load) -> float:
    return run_wrk(instance.port, load, connections=1, seconds=_TAIL_SECONDS).p99 / 1000
