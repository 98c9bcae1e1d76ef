"""JSON to protobuf and back: every datatype, parameters, raw contents, and what is refused."""

from __future__ import annotations

import struct

import pytest

from overbook.client.errors import BadTensor
from overbook.client.http import Json, JsonObject
from overbook.client.tensors import request_from_json, response_to_json
from overbook.wire import oip_pb2 as oip


def request(datatype: str, data: Json, shape: Json = None) -> JsonObject:
    return {"inputs": [{"name": "x", "datatype": datatype, "shape": shape or [2], "data": data}]}


@pytest.mark.parametrize(
    ("datatype", "field", "data", "expected"),
    [
        ("BOOL", "bool_contents", [True, False], [True, False]),
        ("UINT8", "uint_contents", [0, 255], [0, 255]),
        ("UINT64", "uint64_contents", [0, 2**64 - 1], [0, 2**64 - 1]),
        ("INT16", "int_contents", [-5, 5], [-5, 5]),
        ("INT64", "int64_contents", [-(2**63), 1], [-(2**63), 1]),
        ("FP32", "fp32_contents", [[1], [0.5]], [1.0, 0.5]),
        ("FP64", "fp64_contents", [0.1, 2], [0.1, 2.0]),
        ("BYTES", "bytes_contents", ["é", "b"], ["é".encode(), b"b"]),
    ],
)
def test_each_datatype_has_its_field(
    datatype: str, field: str, data: Json, expected: list[object]
) -> None:
    message = request_from_json("iris", request(datatype, data))
    (tensor,) = message.inputs
    assert (message.model_name, tensor.name, tensor.datatype, list(tensor.shape)) == (
        "iris",
        "x",
        datatype,
        [2],
    )
    assert list(getattr(tensor.contents, field)) == expected


def test_identity_parameters_and_outputs() -> None:
    message = request_from_json(
        "iris",
        {
            "id": "9",
            "parameters": {"a": True, "b": 7, "c": 0.5, "d": "x"},
            "inputs": [
                {"name": "x", "datatype": "FP32", "shape": [0], "data": [], "parameters": {"e": 1}}
            ],
            "outputs": [{"name": "predict"}],
        },
    )
    assert message.id == "9"
    assert message.parameters["a"].bool_param is True
    assert message.parameters["b"].int64_param == 7
    assert message.parameters["c"].double_param == 0.5
    assert message.parameters["d"].string_param == "x"
    assert message.inputs[0].parameters["e"].int64_param == 1
    assert [each.name for each in message.outputs] == ["predict"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({}, "inputs: expected a JSON list"),
        ({"inputs": [7]}, r"inputs\[0\]: expected a JSON object"),
        (request("FP16", [1, 2]), r"inputs\[0\].datatype: 'FP16' has no JSON form"),
        (request("INT32", ["a", "b"]), r"inputs\[0\].data: not INT32 values"),
        (request("UINT8", [-1, 0]), r"inputs\[0\].data: not UINT8 values"),
        (request("FP32", [1, 2], shape="2"), r"inputs\[0\].shape: expected a JSON list"),
        (
            request("FP32", [1, 2], shape=["2"]),
            r"inputs\[0\].shape: expected a list of whole numbers",
        ),
        ({"inputs": [], "parameters": {"a": [1]}}, "parameters.a: expected text"),
        ({"inputs": [], "parameters": 3}, "parameters: expected a JSON object"),
    ],
)
def test_what_has_no_form_is_named(body: JsonObject, reason: str) -> None:
    with pytest.raises(BadTensor, match=reason):
        request_from_json("iris", body)


def test_answers_in_contents() -> None:
    response = oip.ModelInferResponse(model_name="iris", model_version="1", id="9")
    tensor = response.outputs.add(name="y", datatype="BYTES", shape=[2])
    tensor.contents.bytes_contents.extend([b"a", b"\xff"])
    tensor.parameters["content_type"].string_param = "str"
    response.parameters["took"].double_param = 0.5
    assert response_to_json(response) == {
        "model_name": "iris",
        "model_version": "1",
        "id": "9",
        "parameters": {"took": 0.5},
        "outputs": [
            {
                "name": "y",
                "datatype": "BYTES",
                "shape": [2],
                "data": ["a", "\\xff"],
                "parameters": {"content_type": "str"},
            }
        ],
    }


def test_answers_in_raw_bytes() -> None:
    response = oip.ModelInferResponse(model_name="iris")
    response.outputs.add(name="a", datatype="FP32", shape=[2])
    response.outputs.add(name="b", datatype="BYTES", shape=[2])
    response.outputs.add(name="c", datatype="FP16", shape=[1])
    response.raw_output_contents.extend(
        [struct.pack("<2f", 0.5, 2), b"\x02\x00\x00\x00hi\x00\x00\x00\x00", struct.pack("<e", 1.5)]
    )
    outputs = response_to_json(response)["outputs"]
    assert isinstance(outputs, list)
    assert [each["data"] for each in outputs if isinstance(each, dict)] == [
        [0.5, 2.0],
        ["hi", ""],
        [1.5],
    ]


@pytest.mark.parametrize(
    ("datatype", "raw", "reason"),
    [
        ("FP32", b"123", "3 bytes are not a whole number of FP32"),
        ("BYTES", b"\x05\x00\x00\x00hi", "end in the middle of one"),
        ("COMPLEX", b"", "datatype 'COMPLEX' is not known"),
    ],
)
def test_answers_that_cannot_be_read(datatype: str, raw: bytes, reason: str) -> None:
    response = oip.ModelInferResponse(model_name="iris")
    response.outputs.add(name="y", datatype=datatype, shape=[1])
    response.raw_output_contents.append(raw)
    with pytest.raises(BadTensor, match=reason):
        response_to_json(response)


def test_contents_of_an_unknown_datatype() -> None:
    response = oip.ModelInferResponse(model_name="iris")
    response.outputs.add(name="y", datatype="COMPLEX", shape=[1])
    with pytest.raises(BadTensor, match="'COMPLEX' is not known"):
        response_to_json(response)
