"""Carries ModelStreamInfer streams from Envoy's public side to its internal listener.

Theory of operation. A stream names its model in its first message, and Envoy cannot look at the
first message without waiting for the last one (docs/adr/0003). So Envoy hands every stream to this
relay; the relay reads one message, finds the name, and opens the same method at Envoy's internal
listener with the name in ``x-overbook-model``. From there on the stream takes the hot or the cold
path as any request does. Two pumps carry the bytes, each one message at a time: a slow reader on one
side stops the reading on the other. Half-close, status, trailers, cancellation and deadline pass.

No message is decoded here and no model is activated here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import grpc

from overbook.gateway.oip.answers import Answers
from overbook.gateway.oip.errors import BadRequest, NoAnswer
from overbook.gateway.oip.methods import STREAM_METHOD, status_of
from overbook.gateway.oip.model_name import asked_model, model_name, shown
from overbook.gateway.snapshot.names import MODEL_HEADER, SELDON_HEADER

# Set anew on each hop, or ours alone to set: a client's own must not pass.
_DROPPED_PREFIXES: Final = (":", "grpc-", "x-overbook-", "x-envoy-")
_DROPPED_KEYS: Final = frozenset({"content-type", "te", "user-agent", "host", "server", "date"})
# gRPC rounds a timeout up by as much as a hundredth at every hop, on the way to us and from us: without this the
# server would work on after its client gave up.
_TIMEOUT_SHARE: Final = 0.98

Metadata = tuple[tuple[str, str | bytes], ...]
_Context = grpc.aio.ServicerContext[bytes, bytes]
_Call = grpc.aio.StreamStreamCall[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Ending:
    """How a stream ended, to be told to the client."""

    code: grpc.StatusCode
    details: str = ""
    trailers: Metadata = ()


def forwarded(metadata: Iterable[tuple[str, str | bytes]] | None) -> Metadata:
    """The metadata that passes from one hop to the next."""
    return tuple(
        (key, value)
        for key, value in metadata or ()
        if key not in _DROPPED_KEYS and not key.startswith(_DROPPED_PREFIXES)
    )


class StreamRelay:
    """The handler of ModelStreamInfer. ``upstream``: a channel to Envoy's internal listener."""

    def __init__(
        self, *, answers: Answers, upstream: grpc.aio.Channel, first_message_seconds: float
    ) -> None:
        self._answers = answers
        self._open: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = upstream.stream_stream(
            STREAM_METHOD
        )
        self._first_message_seconds = first_message_seconds

    async def handle(self, _: object, context: _Context) -> None:
        """One stream from its first message to its status."""
        ending = await self._relay(context)
        if ending.code is grpc.StatusCode.OK:
            context.set_trailing_metadata(ending.trailers)
        else:
            await context.abort(ending.code, ending.details, ending.trailers)

    async def _relay(self, context: _Context) -> Ending:
        try:
            async with asyncio.timeout(self._first_message_seconds):
                first = await _read(context)
        except TimeoutError:
            return Ending(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                f"no message within {self._first_message_seconds:g} s: nothing names the model",
            )
        if first is None:
            # Nothing was asked: a stream that a client opened ahead of time and did not need.
            return Ending(grpc.StatusCode.OK)
        metadata = forwarded(context.invocation_metadata())
        try:
            name = self._model_of(first, metadata)
        except NoAnswer as refusal:
            return Ending(status_of(refusal), str(refusal))
        remaining = context.time_remaining()
        timeout = None if remaining is None else remaining * _TIMEOUT_SHARE
        call = self._open(timeout=timeout, metadata=(*metadata, (MODEL_HEADER, name)))
        try:
            return await self._pump(context, call, first=first, name=name)
        finally:
            call.cancel()

    async def _pump(self, context: _Context, call: _Call, *, first: bytes, name: str) -> Ending:
        refused: list[Ending] = []
        try:
            async with asyncio.TaskGroup() as pumps:
                up = pumps.create_task(
                    _pump_up(context, call, first=first, name=name), name=f"stream up {name}"
                )
                ending = await _pump_down(call, context)
                up.cancel()
            return ending
        except* NoAnswer as group:
            refused.extend(Ending(status_of(error), str(error)) for error in _leaves(group))
        return refused[0]

    def _model_of(self, first: bytes, metadata: Metadata) -> str:
        """The model of the first message. Raises NoAnswer if it is unknown or a header contradicts."""
        headers = [
            value for key, value in metadata if key == SELDON_HEADER and isinstance(value, str)
        ]
        # As Envoy has it, where there are several.
        name = asked_model(first, ",".join(headers) if headers else None)
        self._answers.model(name)
        return name


async def _pump_up(context: _Context, call: _Call, *, first: bytes, name: str) -> None:
    """Client to server, to the half-close. Raises NoAnswer when a message names another model."""
    message: bytes | None = first
    try:
        while message is not None:
            await call.write(message)
            message = await _read(context)
            other = model_name(message) if message is not None else ""
            if other and other != name:
                raise BadRequest(
                    f"a message names model {shown(other)} in a stream of model {name}; "
                    "open one stream for each model"
                )
        await call.done_writing()
    except (grpc.RpcError, asyncio.InvalidStateError):
        # The server has ended the stream; the other pump has its status and tells the client.
        return


async def _pump_down(call: _Call, context: _Context) -> Ending:
    """Server to client until the server's status."""
    try:
        await context.send_initial_metadata(forwarded(await call.initial_metadata()))
        while isinstance(message := await call.read(), bytes):
            await context.write(message)
        return Ending(grpc.StatusCode.OK, trailers=forwarded(await call.trailing_metadata()))
    except grpc.aio.AioRpcError as error:
        trailers = forwarded(error.trailing_metadata())
        return Ending(error.code(), error.details() or "", trailers)


async def _read(context: _Context) -> bytes | None:
    """The client's next message; None when it has half-closed."""
    message: object = await context.read()
    return message if isinstance(message, bytes) else None


def _leaves(group: BaseExceptionGroup[NoAnswer]) -> list[NoAnswer]:
    leaves: list[NoAnswer] = []
    for error in group.exceptions:
        leaves.extend(_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])
    return leaves
