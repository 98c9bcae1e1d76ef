"""REST metadata objects become gRPC messages without loss, and odd ones do no harm."""

from __future__ import annotations

from overbook.gateway.oip.metadata import metadata_message


def test_every_field_arrives() -> None:
    message = metadata_message(
        {
            "name": "iris",
            "versions": ["v1"],
            "platform": "sklearn",
            "inputs": [
                {
                    "name": "x",
                    "datatype": "FP32",
                    "shape": [-1, 4],
                    "parameters": {"content_type": "np", "batched": True, "low": -1, "scale": 0.5},
                }
            ],
            "outputs": [{"name": "y", "datatype": "INT64", "shape": [-1]}],
            "parameters": {"owner": "acme"},
        }
    )
    assert (message.name, list(message.versions), message.platform) == ("iris", ["v1"], "sklearn")
    tensor = message.inputs[0]
    assert (tensor.name, tensor.datatype, list(tensor.shape)) == ("x", "FP32", [-1, 4])
    assert tensor.parameters["content_type"].string_param == "np"
    assert tensor.parameters["batched"].bool_param is True
    assert tensor.parameters["low"].int64_param == -1
    assert tensor.parameters["scale"].double_param == 0.5
    assert message.outputs[0].name == "y"
    assert message.parameters["owner"].string_param == "acme"


def test_null_absent_and_odd_fields_stay_empty() -> None:
    message = metadata_message(
        {"name": "iris", "versions": None, "inputs": [7], "outputs": "no", "parameters": {"a": []}}
    )
    assert message.name == "iris"
    assert not message.versions
    assert message.inputs[0].name == ""
    assert not message.outputs
    assert not message.parameters


def test_what_json_can_say_and_a_message_cannot() -> None:
    message = metadata_message(
        {
            "name": "\ud800",
            "inputs": [{"name": "\udfff", "shape": [2**63, -1]}],
            "parameters": {"\ud800": "\ud800", "large": 2**63},
        }
    )
    assert message.name == "?"
    assert list(message.inputs[0].shape) == [-1]
    assert message.parameters["?"].string_param == "?"
    assert "large" not in message.parameters
