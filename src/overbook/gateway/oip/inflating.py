"""Inflates what comes to the gateway compressed, in a thread where that takes long, and refuses what becomes too large.

gRPC itself would inflate a message however large it becomes, so its server leaves messages as they are (`server`):
calls of one message are inflated by `InflatedMessages`, and `relay` asks for each of a stream's. A body over REST goes
to its inference server as it came; before that it is only measured, by `Inflating.measure`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final, ParamSpec, TypeAlias, TypeVar

import grpc
from google.protobuf.message import DecodeError
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from overbook.gateway.oip.errors import NoAnswer, TooLarge
from overbook.gateway.oip.methods import status_of
from overbook.wire.inflating import InflatedSize, InflatesToMore, inflated, is_compressed
from overbook.wire.limits import MAX_BODY, MAX_MESSAGE

_P = ParamSpec("_P")
_T = TypeVar("_T")
# In quotes: when it is run the type takes no arguments.
_Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
# Of fewer bytes a few megabytes may come, and a thread would cost more.
_SMALL: Final = 4096
# Who sends little may cause much work: that must not take all processors. Each thread may hold the largest message, and
# the C library keeps that memory for it.
_THREADS: Final = 2


class Inflating:
    """Inflates and measures, a few at a time."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="inflating")

    async def message(self, message: bytes) -> bytes:
        """A message of gRPC as it was before it was compressed, if it was. Raises TooLarge."""
        if not is_compressed(message):
            return message
        try:
            if len(message) < _SMALL:
                return inflated(message, MAX_MESSAGE)
            return await self._in_thread(inflated, message, MAX_MESSAGE)
        except InflatesToMore:
            raise TooLarge(
                f"message: too large when it is inflated, at most {MAX_MESSAGE} bytes are accepted"
            ) from None

    async def read(self, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes | None:
        """The next message of a client's stream; None when that has half-closed it. Raises TooLarge."""
        message: object = await context.read()
        return await self.message(message) if isinstance(message, bytes) else None

    async def measure(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers Envoy's question about a compressed body: whether its inference server may inflate it."""
        await (await self._measured(Request(scope, receive)))(scope, receive, send)

    async def _measured(self, request: Request) -> Response:
        size = InflatedSize(MAX_BODY)
        try:
            async for chunk in request.stream():
                await self._in_thread(size.add, chunk)
        except InflatesToMore:
            too_large = f"request body: too large when it is inflated, at most {MAX_BODY} bytes are accepted"
            return PlainTextResponse(too_large, 413)
        return Response()

    async def _in_thread(self, work: Callable[_P, _T], /, *of: _P.args, **named: _P.kwargs) -> _T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, partial(work, *of, **named))


class InflatedMessages(grpc.aio.ServerInterceptor):
    """Stands before the handlers of calls of one message: they get it inflated."""

    def __init__(self, inflating: Inflating) -> None:
        self._inflating = inflating

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler | None:
        """The handler that was found, for messages that may be compressed."""
        handler = await continuation(handler_call_details)
        if handler is None or handler.request_streaming:
            return handler
        answer: Any = handler.unary_unary
        parse = handler.request_deserializer or bytes

        async def behaviour(message: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            try:
                request = parse(await self._inflating.message(message))
            except NoAnswer as refusal:
                await context.abort(status_of(refusal), str(refusal))
            except DecodeError:
                # As gRPC says it.
                await context.abort(grpc.StatusCode.INTERNAL, "Exception deserializing request!")
            return await answer(request, context)

        return grpc.unary_unary_rpc_method_handler(
            behaviour, response_serializer=handler.response_serializer
        )
