"""OIP model metadata: from the JSON object of the REST protocol to the gRPC message. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeGuard

from overbook.wire import oip_pb2 as pb


def metadata_message(document: Mapping[str, object]) -> pb.ModelMetadataResponse:
    """What the document says, field by field; what is absent, null or of another type stays empty."""
    message = pb.ModelMetadataResponse(
        name=_text(document.get("name")),
        versions=[_text(version) for version in _items(document.get("versions"))],
        platform=_text(document.get("platform")),
        inputs=[_tensor(tensor) for tensor in _items(document.get("inputs"))],
        outputs=[_tensor(tensor) for tensor in _items(document.get("outputs"))],
    )
    _add_parameters(message.parameters, document.get("parameters"))
    return message


def _tensor(value: object) -> pb.ModelMetadataResponse.TensorMetadata:
    fields = _object(value)
    shape = [size for size in _items(fields.get("shape")) if _is_int64(size)]
    tensor = pb.ModelMetadataResponse.TensorMetadata(
        name=_text(fields.get("name")), datatype=_text(fields.get("datatype")), shape=shape
    )
    _add_parameters(tensor.parameters, fields.get("parameters"))
    return tensor


def _add_parameters(into: Mapping[str, pb.InferParameter], value: object) -> None:
    for key, content in _object(value).items():
        # A message map creates the entry when it is asked for one that is not there.
        if isinstance(content, bool):
            into[key].bool_param = content
        elif isinstance(content, int):
            if _is_int64(content):
                into[key].int64_param = content
        elif isinstance(content, float):
            into[key].double_param = content
        elif isinstance(content, str):
            into[key].string_param = _text(content)


def _object(value: object) -> Mapping[str, object]:
    return {_text(key): item for key, item in value.items()} if isinstance(value, Mapping) else {}


def _is_int64(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and -(2**63) <= value < 2**63


def _items(value: object) -> Sequence[object]:
    return value if isinstance(value, list | tuple) else ()


def _text(value: object) -> str:
    """JSON can say half of a surrogate pair, a message cannot."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""
