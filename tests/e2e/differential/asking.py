"""Asks a server's own port and Overbook's the same, and keeps of each answer what a client can see."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self

import grpc
import httpx
from tritonclient.grpc import service_pb2 as pb

from tests.e2e.differential.models import DATATYPES
from tests.integration import own_doors

SERVICE: Final = "/inference.GRPCInferenceService/"
_SECONDS: Final = 30.0
# What may differ in the head of an answer, and why.
HEADERS: Final[Mapping[str, str]] = {
    "date": "the time; Envoy adds it where the server does not say it",
    "x-request-id": "its client's or a new one, so that a request is found again in a log",
    "connection": "of one hop",
    "transfer-encoding": "of one hop: how the body is cut into pieces",
    "content-length": "absent where the body comes in pieces; the bodies themselves are compared",
    "server": "who speaks HTTP: uvicorn says so, and for what the gateway answers nobody does",
    "x-overbook-unanswered": "a mark between server and gateway, which clients do not see",
}


@dataclass(frozen=True)
class Rest:
    """A request over REST."""

    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Unary:
    """A call of gRPC."""

    method: str
    message: Any
    answer: Any
    compression: grpc.Compression | None = None
    metadata: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Stream:
    """A stream of gRPC. ``answer``: what its answers are read as."""

    messages: Sequence[Any]
    answer: Any = pb.ModelStreamInferResponse
    compression: grpc.Compression | None = None
    metadata: tuple[tuple[str, str], ...] = ()


Request = Rest | Unary | Stream


@dataclass(frozen=True)
class Case:
    """``requests``: one after the other. ``models``: those that are needed. ``differs``: parts of the answer that the
    gateway gives in its own words, for the reason ``because``. ``any_order``: answers of several models to one stream
    come as they are ready.
    """

    name: str
    requests: Sequence[Request]
    models: Sequence[str]
    differs: frozenset[str] = frozenset()
    because: str = ""
    any_order: bool = False

    def but(self, *parts: str, because: str) -> Case:
        """The same with these parts left out of the comparison."""
        return replace(self, differs=frozenset(parts), because=because)


Answer = dict[str, Any]


class Door:
    """One address that is asked, `host:port` or `unix:/path`. ``grpc_address``: where gRPC is, if it is another."""

    def __init__(self, rest: str, grpc_address: str = "", *, http2: bool = False) -> None:
        unix = rest.startswith("unix:")
        socket = own_doors.path_of(rest) if unix else None
        self._http = httpx.Client(
            base_url="http://localhost" if unix else f"http://{rest}",
            timeout=_SECONDS,
            transport=httpx.HTTPTransport(uds=socket, http1=not http2, http2=http2),
            # Nothing but what the case says.
            headers={"accept-encoding": "identity"},
        )
        self._channel = grpc.insecure_channel(grpc_address or rest)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()
        self._channel.close()

    def answers(self, requests: Iterable[Request]) -> list[Answer]:
        """One for each."""
        return [self._ask(request) for request in requests]

    def _ask(self, request: Request) -> Answer:
        match request:
            case Rest():
                return self._rest(request)
            case Unary():
                return self._unary(request)
            case Stream():
                return self._stream(request)

    def _rest(self, request: Rest) -> Answer:
        reply = self._http.request(
            request.method, request.path, content=request.body, headers=request.headers
        )
        headers = sorted(
            (name, value) for name, value in reply.headers.multi_items() if name not in HEADERS
        )
        return {"status": reply.status_code, "headers": headers, "body": reply.content}

    def _unary(self, request: Unary) -> Answer:
        call: grpc.UnaryUnaryMultiCallable[Any, Any] = self._channel.unary_unary(
            request.method,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=request.answer.FromString,
        )
        try:
            message, done = call.with_call(
                request.message,
                timeout=_SECONDS,
                compression=request.compression,
                metadata=request.metadata,
            )
        except grpc.RpcError as error:
            return _ended(error, [])
        return _ended(done, [message])

    def _stream(self, request: Stream) -> Answer:
        call: grpc.StreamStreamMultiCallable[Any, Any] = self._channel.stream_stream(
            f"{SERVICE}ModelStreamInfer",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=request.answer.FromString,
        )
        messages: list[Any] = []
        running = call(
            iter(request.messages),
            timeout=_SECONDS,
            compression=request.compression,
            metadata=request.metadata,
        )
        with contextlib.suppress(grpc.RpcError):
            messages.extend(running)
        return _ended(running, messages)


def _ended(call: Any, messages: list[Any]) -> Answer:
    metadata = [*call.initial_metadata(), *call.trailing_metadata()]
    return {
        "status": call.code(),
        "details": call.details(),
        "headers": sorted((key, value) for key, value in metadata if key not in HEADERS),
        "body": messages,
    }


def tensor(name: str, datatype: str, shape: Sequence[int], data: Sequence[Any]) -> Any:
    """An input of a message, with typed contents."""
    made = pb.ModelInferRequest.InferInputTensor(name=name, datatype=datatype, shape=shape)
    kind = {"BOOL": "bool", "BYTES": "bytes", "FP32": "fp32", "FP64": "fp64"}.get(datatype)
    if kind is None:
        signed = "uint" if datatype.startswith("U") else "int"
        kind = f"{signed}64" if datatype.endswith("64") else signed
    getattr(made.contents, f"{kind}_contents").extend(data)
    return made


def known(datatype: str) -> str:
    """NumPy's name of the type."""
    return DATATYPES[datatype]
