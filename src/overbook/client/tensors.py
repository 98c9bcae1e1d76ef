"""Open Inference Protocol between its JSON and its protobuf form: shapes of data, no transport."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import Final

from overbook.client.errors import BadTensor
from overbook.client.http import Json, JsonObject
from overbook.wire import oip_pb2 as oip

# Datatype to the field of InferTensorContents that carries it, and to its struct format in raw bytes.
_FIELDS: Final = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
_FORMATS: Final = {
    "BOOL": "?",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
}


def request_from_json(model: str, request: JsonObject) -> oip.ModelInferRequest:
    """A protobuf request. Raises BadTensor naming the tensor."""
    message = oip.ModelInferRequest(model_name=model)
    identity = request.get("id")
    if isinstance(identity, str):
        message.id = identity
    for name, value in _mapping(request.get("parameters"), "parameters").items():
        _set_parameter(message.parameters[name], value, f"parameters.{name}")
    for position, each in enumerate(_list(request.get("inputs"), "inputs")):
        _add_input(message, _mapping(each, f"inputs[{position}]"), f"inputs[{position}]")
    for position, each in enumerate(_list(request.get("outputs", []), "outputs")):
        output = _mapping(each, f"outputs[{position}]")
        message.outputs.add(name=str(output.get("name", "")))
    return message


def response_to_json(response: oip.ModelInferResponse) -> JsonObject:
    """The answer as REST would give it. Raises BadTensor when a tensor cannot be read."""
    outputs: list[Json] = []
    for position, tensor in enumerate(response.outputs):
        if position < len(response.raw_output_contents):
            data = _from_raw(tensor.datatype, response.raw_output_contents[position], tensor.name)
        else:
            data = _from_contents(tensor)
        output: JsonObject = {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": [*tensor.shape],
            "data": data,
        }
        if tensor.parameters:
            output["parameters"] = _parameters(tensor.parameters)
        outputs.append(output)
    answer: JsonObject = {"model_name": response.model_name}
    if response.model_version:
        answer["model_version"] = response.model_version
    if response.id:
        answer["id"] = response.id
    if response.parameters:
        answer["parameters"] = _parameters(response.parameters)
    answer["outputs"] = outputs
    return answer


def _add_input(message: oip.ModelInferRequest, tensor: JsonObject, where: str) -> None:
    datatype = str(tensor.get("datatype", ""))
    if datatype not in _FIELDS:
        raise BadTensor(
            f"{where}.datatype: {datatype!r} has no JSON form over gRPC; "
            f"expected one of {', '.join(_FIELDS)}"
        )
    added = message.inputs.add(name=str(tensor.get("name", "")), datatype=datatype)
    for name, value in _mapping(tensor.get("parameters"), f"{where}.parameters").items():
        _set_parameter(added.parameters[name], value, f"{where}.parameters.{name}")
    data = list(_flat(tensor.get("data")))
    values: list[object] = [
        each.encode() if datatype == "BYTES" and isinstance(each, str) else each for each in data
    ]
    try:
        added.shape.extend(_shape(tensor.get("shape"), f"{where}.shape"))
        getattr(added.contents, _FIELDS[datatype]).extend(values)
    except (TypeError, ValueError) as error:
        raise BadTensor(f"{where}.data: not {datatype} values ({error})") from None


def _shape(value: Json, where: str) -> list[int]:
    sizes = [each for each in _list(value, where) if isinstance(each, int)]
    if len(sizes) != len(_list(value, where)):
        raise BadTensor(f"{where}: expected a list of whole numbers")
    return sizes


def _flat(data: Json) -> Iterator[Json]:
    if isinstance(data, list):
        for each in data:
            yield from _flat(each)
    else:
        yield data


def _set_parameter(target: oip.InferParameter, value: Json, where: str) -> None:
    if isinstance(value, bool):
        target.bool_param = value
    elif isinstance(value, int):
        target.int64_param = value
    elif isinstance(value, float):
        target.double_param = value
    elif isinstance(value, str):
        target.string_param = value
    else:
        raise BadTensor(f"{where}: expected text, a number, or true or false")


def _from_contents(tensor: oip.ModelInferResponse.InferOutputTensor) -> list[Json]:
    if tensor.datatype not in _FIELDS:
        raise BadTensor(f"output {tensor.name!r}: datatype {tensor.datatype!r} is not known")
    return [_plain(each) for each in getattr(tensor.contents, _FIELDS[tensor.datatype])]


def _from_raw(datatype: str, raw: bytes, name: str) -> list[Json]:
    if datatype == "BYTES":
        return list(_byte_strings(raw, name))
    if datatype not in _FORMATS:
        raise BadTensor(f"output {name!r}: datatype {datatype!r} is not known")
    size = struct.calcsize(f"<{_FORMATS[datatype]}")
    if len(raw) % size:
        raise BadTensor(f"output {name!r}: {len(raw)} bytes are not a whole number of {datatype}")
    return list(struct.unpack(f"<{len(raw) // size}{_FORMATS[datatype]}", raw))


def _byte_strings(raw: bytes, name: str) -> Iterator[str]:
    """Each is its length in four bytes, least significant first, and then itself."""
    position = 0
    while position < len(raw):
        start = position + 4
        end = start + int.from_bytes(raw[position:start], "little")
        if end > len(raw):
            raise BadTensor(f"output {name!r}: byte strings end in the middle of one")
        yield raw[start:end].decode("utf-8", "backslashreplace")
        position = end


def _plain(value: object) -> Json:
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    assert isinstance(value, bool | int | float | str)
    return value


def _parameters(parameters: Mapping[str, oip.InferParameter]) -> JsonObject:
    found: JsonObject = {}
    for name, parameter in sorted(parameters.items()):
        which = parameter.WhichOneof("parameter_choice")
        found[name] = None if which is None else getattr(parameter, which)
    return found


def _mapping(value: Json, where: str) -> JsonObject:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadTensor(f"{where}: expected a JSON object")
    return value


def _list(value: Json, where: str) -> list[Json]:
    if not isinstance(value, list):
        raise BadTensor(f"{where}: expected a JSON list")
    return value
