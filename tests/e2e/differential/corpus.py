"""What both are asked: every datatype and shape, binary and JSON, codings, streams, errors, probes."""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import grpc
import numpy as np
from tritonclient.grpc import service_pb2 as pb

from tests.e2e.differential.asking import SERVICE, Case, Rest, Stream, Unary, tensor
from tests.e2e.differential.models import DATATYPES

_JSON: Final = {"content-type": "application/json"}
_FORM: Final = {"content-type": "application/x-www-form-urlencoded"}
_GZIP, _DEFLATE = grpc.Compression.Gzip, grpc.Compression.Deflate
_LENGTH: Final = "inference-header-content-length"
_VALUES: Final[Mapping[str, list[Any]]] = {
    "BOOL": [True, False, True, True],
    "UINT8": [0, 1, 254, 255],
    "UINT16": [0, 1, 2, 65535],
    "UINT32": [0, 1, 2, 4294967295],
    "UINT64": [0, 1, 2, 18446744073709551615],
    "INT8": [0, 1, -128, 127],
    "INT16": [0, 1, -32768, 32767],
    "INT32": [0, 1, -2147483648, 2147483647],
    "INT64": [0, 1, -9223372036854775808, 9223372036854775807],
    "FP16": [0.0, 0.5, -1.5, 65504.0],
    "FP32": [0.0, 0.1, -1.5, 3.4e38],
    "FP64": [0.0, 0.1, -1.5, 1.7e308],
    "BYTES": ["", "é", "a b", "x" * 300],
}
_GROUPS: Final = {
    "whole numbers": [each for each in DATATYPES if "INT" in each],
    "fractions": [each for each in DATATYPES if each.startswith("FP")],
    "BOOL and BYTES": ["BOOL", "BYTES"],
}
_SHAPES: Final = ([4, 1], [1, 4], [2, 2], [0, 4])
_WORDS: Final = "the gateway knows that without asking a server, and says so in its own words"


def _raw(datatype: str, values: Sequence[Any]) -> bytes:
    if datatype == "BYTES":
        texts = [each.encode() for each in values]
        return b"".join(struct.pack("<I", len(each)) + each for each in texts)
    return np.array(values, DATATYPES[datatype]).tobytes()


def _input(
    name: str, datatype: str = "", shape: Sequence[int] = (2, 2), **more: Any
) -> dict[str, Any]:
    datatype = datatype or name
    count = int(np.prod(shape))
    return {
        "name": name,
        "datatype": datatype,
        "shape": list(shape),
        "data": _VALUES[datatype][:count],
        **more,
    }


def _body(*inputs: Mapping[str, Any], **more: Any) -> bytes:
    return json.dumps({"id": "one", "inputs": list(inputs), **more}).encode()


def _binary(
    *inputs: Mapping[str, Any], binary: Sequence[int] = (0,), **more: Any
) -> tuple[bytes, dict[str, str]]:
    """The body and headers of a request whose inputs with these numbers are binary, and the others JSON."""
    described, tail = [], b""
    for number, each in enumerate(inputs):
        if number not in binary:
            described.append(each)
            continue
        raw = _raw(each["datatype"], each["data"])
        tail += raw
        parameters = {**each.get("parameters", {}), "binary_data_size": len(raw)}
        described.append(
            {key: value for key, value in each.items() if key != "data"}
            | {"parameters": parameters}
        )
    head = _body(*described, **more)
    return head + tail, {_LENGTH: str(len(head)), "content-type": "application/octet-stream"}


def _message(model: str, *inputs: Any, id_: str = "one", version: str = "") -> Any:
    return pb.ModelInferRequest(model_name=model, model_version=version, id=id_, inputs=inputs)


def _typed(name: str, datatype: str = "", shape: Sequence[int] = (2, 2)) -> Any:
    datatype = datatype or name
    values = _VALUES[datatype][: int(np.prod(shape))]
    if datatype == "BYTES":
        values = [each.encode() for each in values]
    return tensor(name, datatype, shape, values)


def asked(model: str) -> Any:
    """A message that every model of the corpus which answers with what it is asked can be asked."""
    return _message(model, _typed("FP32"))


def _with_raw(model: str, *datatypes: str) -> Any:
    message = _message(model)
    for datatype in datatypes:
        message.inputs.add(name=datatype, datatype=datatype, shape=[2, 2])
        message.raw_input_contents.append(_raw(datatype, _VALUES[datatype]))
    return message


def _infer(message: Any, compression: grpc.Compression | None = None, **metadata: str) -> Unary:
    named = tuple((name.replace("_", "-"), value) for name, value in metadata.items())
    return Unary(f"{SERVICE}ModelInfer", message, pb.ModelInferResponse, compression, named)


def _post(
    model: str, body: bytes, headers: Mapping[str, str] = _JSON, verb: str = "infer", **more: str
) -> Rest:
    named = {name.replace("_", "-"): value for name, value in more.items()}
    return Rest("POST", f"/v2/models/{model}/{verb}", body, {**headers, **named})


def common(model: str) -> Iterator[Case]:
    """What both servers are asked. ``model``: answers with what it is asked; its inputs are called like their types."""

    def case(name: str, *requests: Rest | Unary | Stream) -> Case:
        return Case(f"{model}: {name}", requests, (model,))

    for group, datatypes in _GROUPS.items():
        yield case(
            f"{group} in JSON and binary",
            *(request for datatype in datatypes for request in _all_forms(model, datatype)),
        )
        yield case(
            f"{group} over gRPC",
            *(_infer(message) for each in datatypes for message in _all_messages(model, each)),
        )
    two = (_input("FP32"), _input("INT64"), _input("BYTES"))
    yield case("several inputs", _post(model, _body(*two)))
    yield case(
        "JSON and binary in one request",
        *(_post(model, *_binary(*two, binary=some)) for some in ((0,), (1,), (0, 2), (0, 1, 2))),
    )
    wanted = [{"name": "INT64"}, {"name": "FP32"}]
    yield case(
        "some outputs",
        _post(model, _body(*two, outputs=wanted)),
        _post(model, _body(*two, outputs=[{"name": "nix"}])),
    )
    mixed = [{"name": "INT64", "parameters": {"binary_data": True}}, {"name": "BYTES"}]
    yield case("one output binary", _post(model, *_binary(*two, outputs=mixed)))
    yield case("binary output asked for in JSON", _post(model, _body(*two, outputs=mixed)))
    yield case(
        "all outputs binary, asked for in JSON",
        _post(model, _body(*two, parameters={"binary_data_output": True})),
    )
    yield case(
        "parameters",
        _post(model, _body(_input("FP32"), parameters={"a": 1, "b": "é", "c": True, "d": 1.5})),
    )
    yield from _encodings(model, case)
    yield from _over_grpc(model, case)
    yield from _wrong(model, case)


def _all_forms(model: str, datatype: str) -> Iterator[Rest]:
    for shape in _SHAPES:
        yield _post(model, _body(_input(datatype, shape=shape)))
    yield _post(model, *_binary(_input(datatype)))
    yield _post(model, *_binary(_input(datatype), parameters={"binary_data_output": True}))


def _all_messages(model: str, datatype: str) -> Iterator[Any]:
    yield _with_raw(model, datatype)
    # Typed contents have no field for it.
    for shape in _SHAPES[:3] if datatype != "FP16" else ():
        yield _message(model, _typed(datatype, shape=shape))


def _encodings(model: str, case: Callable[..., Case]) -> Iterator[Case]:
    body = _body(_input("FP32"), _input("BYTES"))
    types: tuple[dict[str, str], ...] = ({}, _FORM, {"content-type": "text/plain"})
    yield case("content types that are none of JSON", *(_post(model, body, each) for each in types))
    codings: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}
    binary, headers = _binary(_input("FP32"), _input("BYTES"))
    for coding, compress in codings.items():
        yield case(
            coding,
            _post(model, compress(body), content_encoding=coding),
            _post(model, compress(binary), headers, content_encoding=coding),
            _post(model, body, accept_encoding=coding),
            _post(model, binary, headers, accept_encoding=coding),
            _post(model, b"no", content_encoding=coding),
        )
    yield case(
        "other codings",
        _post(model, body, accept_encoding="gzip, deflate, br"),
        _post(model, body, content_encoding="br"),
    )


def _over_grpc(model: str, case: Callable[..., Case]) -> Iterator[Case]:
    yield case("several raw inputs", _infer(_with_raw(model, "FP32", "BYTES", "BOOL")))
    large = _message(model)
    large.inputs.add(name="FP32", datatype="FP32", shape=[100, 100])
    large.raw_input_contents.append(bytes(40_000))
    for compression in (_GZIP, _DEFLATE):
        yield case(f"{compression.name} over gRPC", _infer(large, compression))
    outputs = _message(model, _typed("FP32"), _typed("INT64"))
    outputs.outputs.add(name="INT64")
    outputs.parameters["a"].int64_param = 1
    outputs.parameters["b"].string_param = "é"
    yield case("outputs and parameters over gRPC", _infer(outputs), _infer(outputs, x_mine="yes"))


def _wrong(model: str, case: Callable[..., Case]) -> Iterator[Case]:
    wrong: list[dict[str, Any]] = [{"shape": [3, 3]}, {"datatype": "FP33"}, {"data": ["a"] * 4}]
    yield case(
        "wrong tensors",
        *(_post(model, _body(_input("FP32") | each)) for each in wrong),
        _post(model, _body({"name": "FP32", "datatype": "FP32", "shape": [2, 2]})),
    )
    yield case(
        "bodies that are no request",
        *(_post(model, body) for body in (b'{"inputs": [', b"", b"[]")),
        _post(model, _body(), {_LENGTH: "100000"}),
    )
    broken = _with_raw(model, "FP32")
    broken.raw_input_contents[0] = b"123"
    yield case("too few bytes over gRPC", _infer(broken), _infer(broken, _GZIP))
    yield case("a version that is not there", _post(f"{model}/versions/7", _body(_input("FP32"))))
    yield case(
        "a version that is not there, over gRPC",
        _infer(_message(model, _typed("FP32"), version="7")),
    )
    nobody = _message("nobody", _typed("FP32"))
    yield case(
        "a model that is not there", _post("nobody", _body(_input("FP32"))), _infer(nobody)
    ).but("headers", "body", "details", because=_WORDS)
    yield case("a compressed call of no model", _infer(nobody, _GZIP)).but(
        "details", because=_WORDS
    )
    nonsense = case("a path that nobody has", Rest("GET", f"/v2/models/{model}/nonsense"))
    # Where the model may have paths of its own only its server can tell.
    yield nonsense if model == "echo" else nonsense.but("headers", "body", because=_WORDS)
    yield case(
        "wrong methods", *(Rest(method, f"/v2/models/{model}/infer") for method in ("GET", "PUT"))
    ).but("headers", "body", because=_WORDS)


def probes(model: str) -> Iterator[Case]:
    """What is asked about a model, or a server, and what tells them by the body only."""

    def case(name: str, *requests: Rest | Unary) -> Case:
        return Case(f"{model}: {name}", requests, (model,))

    named = f"/v2/models/{model}"
    yield case("metadata", Rest("GET", named))
    yield case(
        "metadata over gRPC",
        Unary(
            f"{SERVICE}ModelMetadata", pb.ModelMetadataRequest(name=model), pb.ModelMetadataResponse
        ),
    )
    yield case("readiness", Rest("GET", f"{named}/ready"), Rest("GET", "/v2/health/ready")).but(
        "body", "headers", because="clients look at the status; the body tells people more"
    )
    yield case("life", Rest("GET", "/v2/health/live")).but(
        "body", "headers", because="clients look at the status"
    )
    for name, request, answer in (
        ("ServerLive", pb.ServerLiveRequest(), pb.ServerLiveResponse),
        ("ServerReady", pb.ServerReadyRequest(), pb.ServerReadyResponse),
        ("ModelReady", pb.ModelReadyRequest(name=model), pb.ModelReadyResponse),
    ):
        yield case(name, Unary(f"{SERVICE}{name}", request, answer))
    yield case("the server", Rest("GET", "/v2")).but(
        "body", because="the gateway is not one of its servers"
    )
    yield case("a version's metadata that is not there", Rest("GET", f"{named}/versions/7")).but(
        "body", because=_WORDS
    )


def mlserver() -> Iterator[Case]:
    """What MLServer has and Triton has not."""

    def case(name: str, *requests: Rest | Unary | Stream) -> Case:
        return Case(f"echo: {name}", requests, ("echo",))

    rows = {"name": "x", "datatype": "FP64", "shape": [2, 4], "data": [1.0] * 8}
    yield Case(
        "linear: inference",
        (
            _post("linear", _body(rows)),
            _post("linear", _body(rows, outputs=[{"name": "predict_proba"}])),
            _post("linear", _body(rows), verb="generate"),
            _infer(_message("linear", tensor("x", "FP64", [2, 4], [1.0] * 8))),
        ),
        ("linear",),
    )
    for name in ("raise", "refuse", "teapot"):
        failing = _input(name, "FP32")
        yield case(
            f"a model that does {name}",
            _post("echo", _body(failing)),
            _infer(_message("echo", _typed(name, "FP32"))),
            _infer(_with_raw("echo", "FP32"), _GZIP),
        )
    yield case("a header of the request", _post("echo", _body(_input("FP32")), x_mine="yes"))
    asked = _body(_input("FP32"))
    yield case(
        "events",
        _post("echo", asked, verb="infer_stream"),
        _post("echo", asked, verb="generate_stream"),
        _post("echo", asked, _FORM, verb="infer_stream"),
    )
    yield case("a path of its own that names it", Rest("GET", "/v2/models/echo/own"))
    yield case(
        "a path of its own",
        Rest("POST", "/of/its/own/word", headers={"seldon-model": "echo"}),
    )
    yield case(
        "its documents",
        Rest("GET", "/v2/models/echo/docs"),
        Rest("GET", "/v2/models/echo/docs/dataplane.json"),
    )
    addressed = (("seldon-model", "echo"),)
    messages = [_message("echo", _typed("FP32"), id_=str(number)) for number in range(3)]
    refused = [_message("echo", _typed("refuse", "FP32"))]
    for name, sent, compression in (
        ("a stream", messages, None),
        ("a stream in gzip", messages, _GZIP),
        ("a stream that is refused", refused, None),
    ):
        yield case(name, Stream(sent, pb.ModelInferResponse, compression, addressed))


def triton() -> Iterator[Case]:
    """What Triton has and MLServer has not."""

    def case(name: str, model: str, *requests: Rest | Unary | Stream) -> Case:
        return Case(f"{model}: {name}", requests, (model,))

    yield case("an error of its own", "mirror", *_thirteen())
    scores = {"name": "x", "datatype": "FP32", "shape": [1, 3], "data": [0.1, 0.7, 0.2]}
    top = [{"name": "scores", "parameters": {"classification": 2}}]
    classified = _message("scores", tensor("x", "FP32", [1, 3], [0.1, 0.7, 0.2]))
    classified.outputs.add(name="scores").parameters["classification"].int64_param = 2
    yield case(
        "classification",
        "scores",
        _post("scores", _body(scores)),
        _post("scores", _body(scores, outputs=top)),
        _post("scores", *_binary(scores, outputs=top)),
        _infer(classified),
    )
    yield case("generate", "scores", _post("scores", b'{"x": [0.1, 0.7, 0.2]}', verb="generate"))
    yield case("a sequence", "running", *_sequence(7))
    yield case("a sequence out of order", "running", *_sequence(8)[1:])
    yield case("configuration", "scores", *_about("config", "ModelConfig", "scores"))
    yield case(
        "configuration of its version", "scores", Rest("GET", "/v2/models/scores/versions/1/config")
    )
    yield case("statistics", "scores", *_about("stats", "ModelStatistics", "scores"))
    yield case("counting by numbers", "counter", *_counting())
    yield case("events", "counter", _post("counter", b'{"count": 3}', verb="generate_stream"))
    yield from _streams()
    yield case(
        "shared memory that nobody registered",
        "mirror",
        Rest("GET", "/v2/systemsharedmemory/status"),
        Rest("GET", "/v2/cudasharedmemory/region/a/status"),
        Rest("POST", "/v2/systemsharedmemory/unregister"),
    )
    health = Unary("/grpc.health.v1.Health/Check", pb.ServerLiveRequest(), pb.ServerLiveResponse)
    yield case("health", "mirror", health)


def _thirteen() -> list[Rest | Unary]:
    unlucky = _input("FP64") | {"data": [13.0] * 4}
    message = _message("mirror", tensor("FP64", "FP64", [2, 2], [13.0] * 4))
    return [_post("mirror", _body(unlucky)), _infer(message), _infer(message, _GZIP)]


def _about(verb: str, method: str, model: str) -> list[Rest | Unary]:
    request, answer = getattr(pb, f"{method}Request"), getattr(pb, f"{method}Response")
    return [
        Rest("GET", f"/v2/models/{model}/{verb}"),
        Unary(f"{SERVICE}{method}", request(name=model), answer),
    ]


def _sequence(number: int) -> list[Rest | Unary]:
    """Its first requests over REST, the last over gRPC."""
    requests: list[Rest | Unary] = []
    for start, value in ((True, 1), (False, 10)):
        tensor_ = {"name": "x", "datatype": "INT32", "shape": [1, 1], "data": [value]}
        parameters = {"sequence_id": number, "sequence_start": start, "sequence_end": False}
        requests.append(_post("running", _body(tensor_, parameters=parameters)))
    last = _message("running", tensor("x", "INT32", [1, 1], [100]))
    last.parameters["sequence_id"].int64_param = number
    last.parameters["sequence_end"].bool_param = True
    return [*requests, _infer(last)]


def _count(number: int, id_: str = "one") -> Any:
    return _message("counter", tensor("count", "INT32", [1], [number]), id_=id_)


def _counting() -> list[Rest | Unary]:
    """What only a stream can answer."""
    body = _body({"name": "count", "datatype": "INT32", "shape": [1], "data": [2]})
    return [_post("counter", body), _infer(_count(2))]


def _streams() -> Iterator[Case]:
    final = _count(2)
    final.parameters["triton_enable_empty_final_response"].bool_param = True
    mirrored = _message("mirror", _typed("FP32"))
    unlucky = _message("mirror", tensor("FP64", "FP64", [2, 2], [13.0] * 4))
    for name, messages, compression in (
        ("a stream of several answers", [_count(3, "a"), _count(0, "b"), _count(2, "c")], None),
        ("a stream that tells its end", [final], None),
        ("a stream in gzip", [_count(3)], _GZIP),
        ("an error in a stream", [unlucky, mirrored], None),
    ):
        yield Case(
            f"streams: {name}", (Stream(messages, compression=compression),), ("counter", "mirror")
        )
    scored = _message("scores", tensor("x", "FP32", [1, 3], [0.1, 0.7, 0.2]), id_="two")
    # Not with one that is decoupled: of such a stream Triton 2.51 itself dies (signal 6).
    yield Case(
        "streams: several models in one",
        (Stream([mirrored, scored, unlucky, scored, mirrored]),),
        ("mirror", "scores"),
        any_order=True,
    )
    nobody = _message("nobody", _typed("FP32"))
    yield Case(
        "streams: a model that is not there", (Stream([nobody, mirrored]),), ("mirror",)
    ).but("error", because=_WORDS)
