"""The demo's models as training left them: requests in wire form, and the answers that must come back.

Requests are made into bytes once, so that sending one costs the two cores next to nothing.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from google.protobuf.message import DecodeError

from overbook.wire import oip_pb2 as pb

REST_TEMPLATE: Final = (
    "POST /v2/models/{name}/infer HTTP/1.1\r\nHost: {host}\r\n"
    "Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
)
# The served model does the same arithmetic as the trained one; only the order of a sum may differ.
_RELATIVE: Final = {"FP64": 1e-9, "FP32": 1e-4}
_FORMATS: Final = {"INT64": "q", "INT32": "i", "FP64": "d", "FP32": "f"}


@dataclass(frozen=True, slots=True)
class Tensor:
    """What a model's input is called and made of."""

    name: str = "input-0"
    datatype: str = "FP64"


@dataclass(frozen=True, slots=True)
class Case:
    """One request of a model, ready to be sent, and its right answer. ``tolerance`` is relative."""

    rest: bytes
    grpc: bytes
    answers: tuple[float, ...]
    tolerance: float


@dataclass(frozen=True, slots=True)
class DemoModel:
    """`bytes`: its files on disk."""

    name: str
    framework: str
    requirements: tuple[str, ...]
    kind: str
    data: str
    bytes: int
    artifact: Path
    cases: tuple[Case, ...]


class WrongAnswer(Exception):
    """An answer that is not the model's own prediction; the message shows both."""


def load_models(folder: Path, *, host: str) -> tuple[DemoModel, ...]:
    """Every model that training left in `folder`, by name. Raises OSError, ValueError, KeyError."""
    models = []
    for path in sorted((folder / "expected").glob("*.json")):
        document = json.loads(path.read_text())
        name = document["name"]
        tensor = Tensor(document["tensor"], document["datatype"])
        models.append(
            DemoModel(
                name=name,
                framework=document["framework"],
                requirements=tuple(document["requirements"]),
                kind=document["kind"],
                data=document["data"],
                bytes=document["bytes"],
                artifact=folder / "models" / name,
                cases=tuple(
                    make_case(name, case["inputs"], case["answers"], host=host, tensor=tensor)
                    for case in document["cases"]
                ),
            )
        )
    return tuple(models)


def make_case(
    name: str,
    inputs: Sequence[Sequence[float]],
    answers: Sequence[float],
    *,
    host: str,
    tensor: Tensor,
) -> Case:
    """Both wire forms of one request. gRPC carries raw tensors, REST carries JSON."""
    flat = [value for row in inputs for value in row]
    shape = [len(inputs), len(inputs[0])]
    sent = {"name": tensor.name, "shape": shape, "datatype": tensor.datatype, "data": flat}
    body = json.dumps({"inputs": [sent]}, separators=(",", ":")).encode()
    head = REST_TEMPLATE.format(name=name, host=host, length=len(body)).encode()
    message = pb.ModelInferRequest(
        model_name=name,
        inputs=[
            pb.ModelInferRequest.InferInputTensor(
                name=tensor.name, datatype=tensor.datatype, shape=shape
            )
        ],
        raw_input_contents=[struct.pack(f"<{len(flat)}{_FORMATS[tensor.datatype]}", *flat)],
    )
    return Case(
        rest=head + body,
        grpc=message.SerializeToString(),
        answers=tuple(answers),
        tolerance=_RELATIVE[tensor.datatype],
    )


def check_rest(case: Case, body: bytes) -> None:
    """Raises WrongAnswer."""
    try:
        data = json.loads(body)["outputs"][0]["data"]
        _compare(case, [float(value) for value in data])
    except (ValueError, KeyError, IndexError, TypeError):
        raise WrongAnswer(f"not an inference answer: {body[:120]!r}") from None


def check_grpc(case: Case, message: bytes) -> None:
    """Raises WrongAnswer."""
    try:
        response = pb.ModelInferResponse.FromString(message)
        _compare(case, _numbers(response))
    except (DecodeError, ValueError, KeyError, IndexError, struct.error):
        raise WrongAnswer(f"not an inference answer: {message[:120]!r}") from None


def _numbers(response: pb.ModelInferResponse) -> list[float]:
    output = response.outputs[0]
    if response.raw_output_contents:
        raw = response.raw_output_contents[0]
        code = _FORMATS[output.datatype]
        return [float(value) for (value,) in struct.iter_unpack(f"<{code}", raw)]
    contents = output.contents
    values = contents.int64_contents or contents.fp64_contents or contents.int_contents
    return [float(value) for value in values or contents.fp32_contents]


def _compare(case: Case, got: Sequence[float]) -> None:
    expected = case.answers
    same = len(expected) == len(got) and all(
        math.isclose(one, other, rel_tol=case.tolerance, abs_tol=case.tolerance)
        for one, other in zip(expected, got, strict=True)
    )
    if not same:
        raise WrongAnswer(f"expected {list(expected)[:4]}, got {list(got)[:4]}")
