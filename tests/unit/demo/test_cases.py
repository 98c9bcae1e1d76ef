"""Requests on the wire, and that a wrong answer is seen as one."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from overbook.demo.cases import Tensor, WrongAnswer, check_grpc, check_rest, load_models, make_case
from overbook.wire import oip_pb2 as pb

ROWS = [[1.0, 0.1], [2.0, 1 / 3]]
CASE = make_case("acorn-iris", ROWS, [1, 0], host="127.0.0.1", tensor=Tensor())


def rest_answer(data: object) -> bytes:
    return json.dumps({"outputs": [{"name": "predict", "data": data}]}).encode()


def grpc_answer(
    *, raw: bytes | None = None, ints: tuple[int, ...] = (), floats: tuple[float, ...] = ()
) -> bytes:
    return pb.ModelInferResponse(
        outputs=[
            pb.ModelInferResponse.InferOutputTensor(
                datatype="INT64" if not floats else "FP64",
                contents=pb.InferTensorContents(int64_contents=ints, fp64_contents=floats),
            )
        ],
        raw_output_contents=[] if raw is None else [raw],
    ).SerializeToString()


def test_both_forms_carry_the_rows_exactly() -> None:
    head, _, body = CASE.rest.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v2/models/acorn-iris/infer HTTP/1.1\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    tensor = json.loads(body)["inputs"][0]
    assert (tensor["shape"], tensor["data"]) == ([2, 2], [1.0, 0.1, 2.0, 1 / 3])
    request = pb.ModelInferRequest.FromString(CASE.grpc)
    assert request.model_name == "acorn-iris"
    assert struct.unpack("<4d", request.raw_input_contents[0]) == (1.0, 0.1, 2.0, 1 / 3)


def test_right_answers_pass_in_every_form() -> None:
    check_rest(CASE, rest_answer([1, 0]))
    check_grpc(CASE, grpc_answer(ints=(1, 0)))
    check_grpc(CASE, grpc_answer(raw=struct.pack("<2q", 1, 0)))
    regression = make_case("a", ROWS, [151.25, 1 / 3], host="h", tensor=Tensor())
    check_rest(regression, rest_answer([151.25, 1 / 3]))
    check_grpc(regression, grpc_answer(floats=(151.25, 1 / 3)))


@pytest.mark.parametrize(
    "body",
    [
        rest_answer([1, 1]),
        rest_answer([1]),
        rest_answer("no"),
        b"{}",
        b"<html>",
        b'{"outputs": []}',
    ],
)
def test_wrong_rest_answers_are_seen(body: bytes) -> None:
    with pytest.raises(WrongAnswer):
        check_rest(CASE, body)


@pytest.mark.parametrize(
    "message",
    [
        grpc_answer(ints=(0, 1)),
        grpc_answer(),
        grpc_answer(raw=b"123"),
        b"\xff\xff",
        b"",
    ],
)
def test_wrong_grpc_answers_are_seen(message: bytes) -> None:
    with pytest.raises(WrongAnswer):
        check_grpc(CASE, message)


def test_a_regression_that_is_slightly_off_is_wrong() -> None:
    case = make_case("a", ROWS, [100.0, 200.0], host="h", tensor=Tensor())
    with pytest.raises(WrongAnswer, match=r"expected \[100\.0, 200\.0\]"):
        check_rest(case, rest_answer([100.00001, 200.0]))


def test_single_precision_is_sent_as_such_and_judged_by_its_own_measure() -> None:
    case = make_case("a", ROWS, [0.5, 0.25], host="h", tensor=Tensor("features", "FP32"))
    request = pb.ModelInferRequest.FromString(case.grpc)
    assert (request.inputs[0].name, request.inputs[0].datatype) == ("features", "FP32")
    assert len(request.raw_input_contents[0]) == 4 * 4
    check_rest(case, rest_answer([0.500001, 0.25]))
    with pytest.raises(WrongAnswer):
        check_rest(case, rest_answer([0.501, 0.25]))


def test_models_are_read_as_training_wrote_them(tmp_path: Path) -> None:
    (tmp_path / "expected").mkdir()
    document = {
        "name": "acorn-iris",
        "framework": "sklearn",
        "requirements": ["sklearn"],
        "tensor": "input-0",
        "datatype": "FP64",
        "kind": "ExtraTrees",
        "data": "iris",
        "bytes": 123,
        "cases": [{"inputs": ROWS, "answers": [1, 0]}],
    }
    (tmp_path / "expected" / "acorn-iris.json").write_text(json.dumps(document))
    (model,) = load_models(tmp_path, host="127.0.0.1")
    assert (model.name, model.kind, model.bytes) == ("acorn-iris", "ExtraTrees", 123)
    assert model.artifact == tmp_path / "models" / "acorn-iris"
    assert model.cases == (CASE,)
