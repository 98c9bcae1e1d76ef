"""The binary tensor data extension of the Open Inference Protocol over REST, which MLServer 1.7 lacks.

Unmodified tritonclient sends and wants binary tensors by default. A request with the header
``Inference-Header-Content-Length`` carries so many bytes of JSON, then the tensors' bytes in the order of the
inputs that say ``binary_data_size``. It is decoded here straight into MLServer's own request type, as its gRPC
server does with raw contents. A request that is all JSON may ask for binary tensors as well. Everything else passes
through untouched.
https://github.com/kserve/open-inference-protocol (extension "binary_tensor_data")
"""

from __future__ import annotations

import re
import struct
from typing import Any

import numpy as np
import orjson
from mlserver.errors import MLServerError
from mlserver.types import InferenceRequest, InferenceResponse, TensorData
from mlserver.utils import extract_headers, insert_headers
from pydantic import ValidationError

from overbook_mlserver import unanswered
from overbook_mlserver.codecs import element
from overbook_mlserver.encodings import read, replayed

_HEADER = b"inference-header-content-length"
_WORD = b'"binary_data'
_PATH = re.compile(r"^/v2/models/(?P<name>[^/]+)(?:/versions/(?P<version>[^/]+))?/infer$")
_DTYPES = {
    "BOOL": np.dtype("?"),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}


class BadRequest(Exception):
    """The body is not what its header and its JSON say. The message goes to the client."""


class BinaryTensors:
    """ASGI middleware in front of MLServer's REST application."""

    def __init__(self, app: Any, data_plane: Any) -> None:
        self._app = app
        self._data_plane = data_plane

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        headers = {name.lower(): value for name, value in scope["headers"]}
        target = _PATH.match(scope["path"])
        if target is None:
            await self._app(scope, receive, send)
            return
        body = await read(receive)
        if body is None:
            return
        length = headers[_HEADER].decode("latin-1") if _HEADER in headers else None
        if length is None and not _asks(body):
            await self._app(scope, replayed(body, receive), send)
            return
        try:
            payload, binary = decode(body, str(len(body)) if length is None else length)
            insert_headers(
                payload, {n.decode("latin-1"): v.decode("latin-1") for n, v in headers.items()}
            )
            result = await self._data_plane.infer(payload, target["name"], target["version"])
        except (BadRequest, ValidationError) as error:
            await _respond(send, 400, [], orjson.dumps({"error": " ".join(str(error).split())}))
            return
        except MLServerError as error:
            await _respond(
                send, error.status_code, unanswered.of(error), orjson.dumps({"error": str(error)})
            )
            return
        extra = [(n.encode(), v.encode()) for n, v in (extract_headers(result) or {}).items()]
        head, tail = encode(result, binary)
        if tail:
            extra.append((_HEADER, str(len(head)).encode()))
        await _respond(send, 200, extra, head + tail, binary=bool(tail))


def _asks(body: bytes) -> bool:
    """Whether a request in JSON asks for binary tensors. What is wrong with one that cannot be read is MLServer's to
    say.
    """
    if _WORD not in body:
        return False
    try:
        _, wanted = decode(body, str(len(body)))
    except (BadRequest, ValidationError):
        return False
    return any(wanted.values())


def decode(body: bytes, header: str) -> tuple[InferenceRequest, dict[str | None, bool]]:
    """The request, and which outputs are wanted in binary form by name; key None: those not named."""
    if not header.isascii() or not header.isdigit() or int(header) > len(body):
        raise BadRequest(
            f"Inference-Header-Content-Length: {header!r}; expected at most the body's {len(body)} bytes"
        )
    length = int(header)
    try:
        document = orjson.loads(body[:length])
        inputs = document.get("inputs", [])
        parameters = document.get("parameters") or {}
        offset, raw = length, {}
        for number, tensor in enumerate(inputs):
            size = (tensor.get("parameters") or {}).pop("binary_data_size", None)
            if size is None:
                continue
            raw[number] = memoryview(body)[offset : offset + size]
            if not isinstance(size, int) or len(raw[number]) != size:
                raise BadRequest(
                    f"inputs[{number}].parameters.binary_data_size: {size!r}; "
                    f"the body has {len(body) - offset} bytes left"
                )
            offset += size
            tensor["data"] = []
        wanted: dict[str | None, bool] = {None: bool(parameters.pop("binary_data_output", False))}
        for output in document.get("outputs") or []:
            own = (output.get("parameters") or {}).pop("binary_data", None)
            if own is not None:
                wanted[output.get("name")] = bool(own)
    except (ValueError, AttributeError, TypeError) as error:
        raise BadRequest(
            f"the first {length} bytes of the body are not a request in JSON: {error}"
        ) from None
    if offset != len(body):
        raise BadRequest(
            f"the body has {len(body) - offset} bytes that no input's binary_data_size accounts for"
        )
    request = InferenceRequest.model_validate(document)
    for number, data in raw.items():
        tensor = request.inputs[number]
        tensor.data = TensorData.model_construct(root=_unpack(number, tensor, data))
    return request, wanted


def _unpack(number: int, tensor: Any, raw: memoryview) -> list[Any]:
    datatype = getattr(tensor.datatype, "value", tensor.datatype)
    count = int(np.prod(tensor.shape, dtype=np.int64))
    if datatype == "BYTES":
        elements = _elements(number, raw)
    elif datatype in _DTYPES:
        dtype = _DTYPES[datatype]
        if len(raw) != count * dtype.itemsize:
            raise BadRequest(
                f"inputs[{number}]: {len(raw)} bytes; "
                f"shape {list(tensor.shape)} of {datatype} takes {count * dtype.itemsize}"
            )
        return np.frombuffer(raw, dtype).tolist()
    else:
        raise BadRequest(f"inputs[{number}].datatype: {datatype!r} has no binary form here")
    if len(elements) != count:
        raise BadRequest(
            f"inputs[{number}]: {len(elements)} elements; shape {list(tensor.shape)} takes {count}"
        )
    return elements


def _elements(number: int, raw: memoryview) -> list[bytes]:
    """BYTES: each element is its length as 4 bytes, little-endian, then the element."""
    elements, offset = [], 0
    while offset < len(raw):
        if offset + 4 > len(raw):
            raise BadRequest(f"inputs[{number}]: ends inside the length of an element")
        (size,) = struct.unpack_from("<I", raw, offset)
        offset += 4
        if offset + size > len(raw):
            raise BadRequest(f"inputs[{number}]: an element of {size} bytes ends after the tensor")
        elements.append(bytes(raw[offset : offset + size]))
        offset += size
    return elements


def encode(response: InferenceResponse, wanted: dict[str | None, bool]) -> tuple[bytes, bytes]:
    """JSON, then the bytes of the outputs that were wanted in binary form."""
    tails = []
    outputs = []
    for output in response.outputs:
        outputs.append(output)
        packed = _pack(output) if wanted.get(output.name, wanted[None]) else None
        if packed is not None:
            tails.append((len(outputs) - 1, packed))
            output.data = TensorData.model_construct(root=[])
    document = response.model_dump(mode="json", exclude_none=True)
    for number, packed in tails:
        described = document["outputs"][number]
        described.pop("data", None)
        described.setdefault("parameters", {})["binary_data_size"] = len(packed)
    return orjson.dumps(document), b"".join(packed for _, packed in tails)


def _pack(output: Any) -> bytes | None:
    """None for a datatype without a binary form: it stays JSON."""
    datatype = getattr(output.datatype, "value", output.datatype)
    data = getattr(output.data, "root", output.data)
    if datatype == "BYTES":
        elements = [element(each) for each in data]
        return b"".join(struct.pack("<I", len(each)) + each for each in elements)
    dtype = _DTYPES.get(datatype)
    return None if dtype is None else np.asarray(data, dtype).tobytes()


async def _respond(
    send: Any, status: int, headers: list[tuple[bytes, bytes]], body: bytes, *, binary: bool = False
) -> None:
    kind = b"application/octet-stream" if binary else b"application/json"
    start = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": body})
