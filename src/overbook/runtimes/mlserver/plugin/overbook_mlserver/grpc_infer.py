"""gRPC ``ModelInfer`` on the endpoint for gateways: the messages of gRPC in requests of HTTP/1.1.

MLServer's own servicer does the work. What it needs of a gRPC call, and the framing, is made here: a message is
five bytes and a protobuf, the status comes in the trailers of a chunked body, or, when there is no message, in
the headers. Unary calls only; streams need HTTP/2 and go to MLServer's own port.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import re
import zlib
from typing import Any, NamedTuple, NoReturn

import grpc
from google.protobuf.message import DecodeError
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.servicers import InferenceServicer

from overbook_mlserver.gateway_endpoint import Headers, Reply, Work

_TYPE = b"application/grpc"
_CONTENT_TYPE = (b"content-type", _TYPE)
# Of the transport, not of the call: no metadata. Also all that begin with "grpc-".
_TRANSPORT = frozenset(
    (b"host", b"te", b"content-type", b"content-length", b"transfer-encoding", b"connection")
)
# How messages may be compressed, and what zlib calls it.
_CODINGS = {b"gzip": zlib.MAX_WBITS | 16, b"deflate": zlib.MAX_WBITS}
# Larger ones are inflated in a thread.
_SMALL = 64 * 1024
# An error's text travels in a header.
_LONGEST_MESSAGE = 4096


class _Metadatum(NamedTuple):
    key: str
    value: str | bytes


class _Aborted(Exception):
    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details


class _Context:
    """What MLServer's servicer uses of a gRPC call."""

    def __init__(self, headers: Headers) -> None:
        self._headers = headers
        self._trailing: tuple[Any, ...] = ()

    def invocation_metadata(self) -> tuple[_Metadatum, ...]:
        return tuple(
            _Metadatum(name.decode("latin-1"), _value(name, value))
            for name, value in self._headers
            if name not in _TRANSPORT and not name.startswith(b"grpc-")
        )

    def trailing_metadata(self) -> tuple[Any, ...]:
        return self._trailing

    def set_trailing_metadata(self, metadata: tuple[Any, ...]) -> None:
        self._trailing = metadata

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: tuple[Any, ...] = ()
    ) -> NoReturn:
        self._trailing = trailing_metadata
        raise _Aborted(code, details)


class GrpcInfer:
    """A `ShortWay`. ``longest``: bytes of the largest message, both ways."""

    cancels = True
    in_line = True
    path = re.compile(rb"/inference\.GRPCInferenceService/ModelInfer")

    def __init__(self, servicer: InferenceServicer, longest: int) -> None:
        self._servicer = servicer
        self._longest = longest

    def prepare(self, found: re.Match[bytes], headers: Headers, body: bytes) -> Work | None:
        content_type = next((value for name, value in headers if name == b"content-type"), b"")
        if not content_type.startswith(_TYPE):
            return None
        return functools.partial(self._infer, headers, body)

    async def _infer(self, headers: Headers, body: bytes) -> Reply:
        context = _Context(headers)
        try:
            request = self._message(await self._plain(headers, body))
            answer = await self._servicer.ModelInfer(request, context)
            message = answer.SerializeToString()
            if len(message) > self._longest:
                raise _Aborted(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"SERVER: Sent message larger than max ({len(message)} vs. {self._longest})",
                )
        except _Aborted as error:
            status = _status(error.code, error.details)
            return Reply([_CONTENT_TYPE, *status, *_trailers(context)], b"", signed=False)
        trailers = [*_status(grpc.StatusCode.OK, ""), *_trailers(context)]
        body = b"".join(
            (
                b"%x\r\n" % (len(message) + 5),
                b"\0",
                len(message).to_bytes(4, "big"),
                message,
                b"\r\n0\r\n",
                *(b"%b: %b\r\n" % trailer for trailer in trailers),
                b"\r\n",
            )
        )
        return Reply([_CONTENT_TYPE], body, chunked=True, signed=False)

    async def _plain(self, headers: Headers, body: bytes) -> bytes:
        """The message without its frame, inflated. Raises _Aborted for what grpc.aio refuses as well."""
        if len(body) < 5 or len(body) != 5 + int.from_bytes(body[1:5], "big"):
            raise _Aborted(grpc.StatusCode.INTERNAL, "expected exactly one message")
        message = body[5:]
        if body[0]:
            said = next((value for name, value in headers if name == b"grpc-encoding"), b"")
            if said not in _CODINGS:
                raise _Aborted(
                    grpc.StatusCode.UNIMPLEMENTED,
                    f"grpc-encoding {said.decode('latin-1')[:80]!r}: expected gzip or deflate",
                )
            inflate = functools.partial(self._inflated, _CODINGS[said], message)
            message = inflate() if len(message) < _SMALL else await asyncio.to_thread(inflate)
        if len(message) > self._longest:
            raise self._too_large(f"({len(message)} vs. {self._longest})")
        return message

    def _inflated(self, bits: int, message: bytes) -> bytes:
        inflating = zlib.decompressobj(bits)
        try:
            found = inflating.decompress(message, self._longest + 1)
        except zlib.error as error:
            raise _Aborted(grpc.StatusCode.INTERNAL, f"Failed to decompress: {error}") from None
        if len(found) > self._longest:
            raise self._too_large(f"when it is inflated (max {self._longest})")
        if not inflating.eof or inflating.unused_data:
            raise _Aborted(grpc.StatusCode.INTERNAL, "Failed to decompress: not one whole stream")
        return found

    def _too_large(self, by: str) -> _Aborted:
        return _Aborted(
            grpc.StatusCode.RESOURCE_EXHAUSTED, f"SERVER: Received message larger than max {by}"
        )

    def _message(self, plain: bytes) -> pb.ModelInferRequest:
        try:
            return pb.ModelInferRequest.FromString(plain)
        except DecodeError:
            raise _Aborted(grpc.StatusCode.INTERNAL, "Exception deserializing request!") from None

    async def failed(self, scope: Any, receive: Any, send: Any, error: Exception) -> None:
        """The servicer answers every error itself: this one is in its answer."""
        text = f"Unexpected {type(error)}: {error}"
        headers = [
            _CONTENT_TYPE,
            *_status(grpc.StatusCode.UNKNOWN, text),
            (b"content-length", b"0"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
        raise error


def _status(code: grpc.StatusCode, details: str) -> Headers:
    number = (b"grpc-status", b"%d" % code.value[0])
    if not details:
        return [number]
    return [number, (b"grpc-message", _percent_encoded(details[:_LONGEST_MESSAGE]))]


def _trailers(context: _Context) -> Headers:
    trailers = []
    for key, value in context.trailing_metadata():
        name = key.encode("ascii")
        raw = value if isinstance(value, bytes) else value.encode("ascii")
        trailers.append((name, base64.b64encode(raw) if name.endswith(b"-bin") else raw))
    return trailers


def _value(name: bytes, value: bytes) -> str | bytes:
    if not name.endswith(b"-bin"):
        return value.decode("latin-1")
    return base64.b64decode(value + b"=" * (-len(value) % 4))


def _percent_encoded(text: str) -> bytes:
    """As gRPC wants it in ``grpc-message``."""
    return b"".join(
        b"%c" % byte if 0x20 <= byte <= 0x7E and byte != 0x25 else b"%%%02X" % byte
        for byte in text.encode("utf-8", "replace")
    )
