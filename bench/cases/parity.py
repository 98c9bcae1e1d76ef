"""What must cost through Overbook what it costs directly: compressed requests, and an ensemble, all of it hot."""

from __future__ import annotations

import gzip
import http.client
import json
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import grpc
import numpy as np

from bench.artifacts import forest
from bench.documents import model_document, server_document
from bench.effort import Effort
from bench.errors import BenchFailed
from bench.findings import Line, Measured, Section, Target
from bench.grpc_load import latencies
from bench.instance import Instance, running, wait_registered
from bench.samples import Samples, ratios
from bench.stage import Stage
from overbook.wire import oip_pb2

_ENSEMBLE: Final = Target(1.1)
# "What it costs directly" is what a request that is not compressed is held to: one hop more, see `triton`.
_COMPRESSED: Final = Target(1.25)
_TURN_SECONDS: Final = 2
_MB: Final = 1_000_000
# Numbers in a request: 8 and 800 kilobytes of them.
_SIZES: Final = {"8 KB": 1000, "800 KB": 100_000}
_FEATURES: Final = 4
# What a step of an ensemble works, as real ones do.
_WORK_SECONDS: Final = 0.003
_IO: Final = """
input [ { name: "X" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [ { name: "Y" data_type: TYPE_FP32 dims: [ -1 ] } ]
"""
_DOUBLE: Final = """
import time

import triton_python_backend_utils as pb

class TritonPythonModel:
    def execute(self, requests):
        end = time.perf_counter() + SECONDS
        while time.perf_counter() < end:
            pass
        found = [pb.get_input_tensor_by_name(each, "X").as_numpy() for each in requests]
        return [pb.InferenceResponse([pb.Tensor("Y", x * 2)]) for x in found]
"""
_STEPS: Final = """
platform: "ensemble"
ensemble_scheduling { step [
  { model_name: "FIRST" model_version: -1 input_map { key: "X" value: "X" } output_map { key: "Y" value: "M" } },
  { model_name: "SECOND" model_version: -1 input_map { key: "X" value: "M" } output_map { key: "Y" value: "Y" } }
] }
"""


@dataclass(frozen=True, slots=True)
class _Question:
    """``ask``: the milliseconds of one request, as a median, at a "host:port" for REST or gRPC as ``protocol`` says."""

    what: str
    server: str
    protocol: str
    target: Target
    ask: Callable[[str], float]


def run(stage: Stage, effort: Effort) -> Section:
    homes = stage.folder("homes")
    with running(stage.folder("up")) as instance:
        _apply(instance, homes)
        lines = [_compared(instance, effort, question) for question in _questions()]
    return Section(
        title="What costs what it costs directly",
        how=(
            "The same request to the inference server's own port and through Overbook by turns, one after the other on "
            "one connection, by a Python client: compressed with gzip (numbers with three digits, so that there is "
            "something to compress), to a small model on Triton and a forest on MLServer; and ensembles of two "
            "models on Triton, not compressed."
        ),
        lines=tuple(lines),
    )


def _apply(instance: Instance, homes: Path) -> None:
    names = []
    for kind, seconds in (("", 0.0), ("-working", _WORK_SECONDS)):
        steps = [f"first{kind}", f"second{kind}"]
        for name in steps:
            code = _DOUBLE.replace("SECONDS", str(seconds))
            _write(homes / name, 'backend: "python"').joinpath("model.py").write_text(code)
        _write(homes / f"both{kind}", _STEPS.replace("FIRST", steps[0]).replace("SECOND", steps[1]))
        names += [*steps, f"both{kind}"]
    instance.apply(
        [
            server_document("mlserver", memory=200 * _MB),
            server_document("triton", memory=600 * _MB),
            model_document("trees", forest(homes / "trees", 5), ["sklearn"], memory=_MB),
            *(model_document(name, homes / name, ["triton"], memory=40 * _MB) for name in names),
        ]
    )
    wait_registered(instance, len(names) + 1)


def _write(home: Path, config: str) -> Path:
    """The folder of the model's only version."""
    version = home / "1"
    version.mkdir(parents=True)
    (home / "config.pbtxt").write_text(_IO + config)
    return version


def _questions() -> list[_Question]:
    few, many = _SIZES.values()
    small = _doubled("both", few)
    working = _doubled("both-working", few)
    questions = [
        _Question(
            "ensemble of two that answer at once, gRPC",
            *("triton", "grpc", _ENSEMBLE),
            lambda to: _over_grpc(to, small),
        ),
        _Question(
            f"ensemble of two that work for {_WORK_SECONDS * 1000:g} ms each, gRPC",
            *("triton", "grpc", _ENSEMBLE),
            lambda to: _over_grpc(to, working),
        ),
    ]
    for label, numbers in _SIZES.items():
        for server, message in (
            ("triton", _doubled("first", numbers)),
            ("mlserver", _rows("trees", min(numbers, many) // _FEATURES)),
        ):
            what = f"{label} compressed, {server}"
            questions += [
                _Question(f"{what}, gRPC", server, "grpc", _COMPRESSED, _compressed_grpc(message)),
                _Question(f"{what}, REST", server, "rest", _COMPRESSED, _compressed_rest(message)),
            ]
    return questions


def _compared(instance: Instance, effort: Effort, question: _Question) -> Line:
    ways = {
        question.server: instance.address_of(question.server, question.protocol),
        "Overbook": f"127.0.0.1:{instance.port}",
    }
    taken: dict[str, list[float]] = {who: [] for who in ways}
    question.ask(ways["Overbook"])  # it is in memory from here on
    for _ in range(effort.rounds):
        for who, to in ways.items():
            taken[who].append(question.ask(to))
    direct, ours = (Measured(who, Samples.of(found), "ms") for who, found in taken.items())
    figure = ratios(ours.samples, direct.samples)
    return Line(f"{question.what}: p50", (direct, ours), figure, "×", question.target)


def _numbers(count: int) -> list[float]:
    return [float(each) for each in np.random.default_rng(count).normal(size=count).round(3)]


def _doubled(model: str, count: int) -> oip_pb2.ModelInferRequest:
    message = oip_pb2.ModelInferRequest(model_name=model)
    tensor = message.inputs.add(name="X", datatype="FP32", shape=[count])
    tensor.contents.fp32_contents.extend(_numbers(count))
    return message


def _rows(model: str, rows: int) -> oip_pb2.ModelInferRequest:
    message = oip_pb2.ModelInferRequest(model_name=model)
    tensor = message.inputs.add(name="predict", datatype="FP64", shape=[rows, _FEATURES])
    tensor.contents.fp64_contents.extend(_numbers(rows * _FEATURES))
    return message


def _over_grpc(
    to: str,
    message: oip_pb2.ModelInferRequest,
    compression: grpc.Compression = grpc.Compression.NoCompression,
) -> float:
    return median(latencies(to, message, seconds=_TURN_SECONDS, compression=compression))


def _compressed_grpc(message: oip_pb2.ModelInferRequest) -> Callable[[str], float]:
    return lambda to: _over_grpc(to, message, grpc.Compression.Gzip)


def _compressed_rest(message: oip_pb2.ModelInferRequest) -> Callable[[str], float]:
    tensor = message.inputs[0]
    data = [*tensor.contents.fp32_contents, *tensor.contents.fp64_contents]
    shape = [*tensor.shape]
    document = {"name": tensor.name, "datatype": tensor.datatype, "shape": shape, "data": data}
    body = gzip.compress(json.dumps({"inputs": [document]}).encode(), mtime=0)
    path = f"/v2/models/{message.model_name}/infer"
    return lambda to: median(_rest_latencies(to, path, body))


def _rest_latencies(to: str, path: str, body: bytes) -> list[float]:
    """Milliseconds of each request. Raises BenchFailed on any failure."""
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    host, _, port = to.rpartition(":")
    taken = []
    with closing(http.client.HTTPConnection(host, int(port), timeout=30)) as connection:
        end = time.perf_counter() + _TURN_SECONDS
        while (began := time.perf_counter()) < end:
            connection.request("POST", path, body, headers)
            answer = connection.getresponse()
            said = answer.read()
            if answer.status != 200:
                raise BenchFailed(f"{path} at {to}: {answer.status} {said[:200]!r}")
            taken.append((time.perf_counter() - began) * 1000)
    return taken
