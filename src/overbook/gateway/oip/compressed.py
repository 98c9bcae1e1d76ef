"""Carries unary calls whose message is compressed: Envoy's script cannot read the model's name in it.

gRPC has inflated the message when it arrives here. It goes on as it is, to Envoy's internal listener, with the name in
``x-overbook-model``; from there it takes the hot or the cold path as any request does. Only who compresses pays for the
hop. No message is decoded here and no model is activated here.
"""

from __future__ import annotations

import grpc

from overbook.gateway.oip.answers import Answers
from overbook.gateway.oip.errors import NoAnswer
from overbook.gateway.oip.hops import Metadata, check, forwarded, remaining
from overbook.gateway.oip.methods import status_of
from overbook.gateway.oip.model_name import model_name
from overbook.gateway.snapshot.names import MODEL_HEADER

_Context = grpc.aio.ServicerContext[bytes, bytes]


class CompressedCalls:
    """``upstream``: a channel to Envoy's internal listener."""

    def __init__(self, *, answers: Answers, upstream: grpc.aio.Channel) -> None:
        self._answers = answers
        self._upstream = upstream

    def handler(self, method: str) -> grpc.RpcMethodHandler[bytes, bytes]:
        """The handler of the method with this path, for messages as the bytes they are."""
        ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._upstream.unary_unary(method)

        async def behaviour(message: bytes, context: _Context) -> bytes:
            metadata = forwarded(context.invocation_metadata())
            try:
                name = model_name(message)
                check(name, metadata, self._answers)
            except NoAnswer as refusal:
                await context.abort(status_of(refusal), str(refusal))
            return await _carry(
                ask, message, context, (*metadata, *self._answers.marks(), (MODEL_HEADER, name))
            )

        return grpc.unary_unary_rpc_method_handler(behaviour)


async def _carry(
    ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes],
    message: bytes,
    context: _Context,
    metadata: Metadata,
) -> bytes:
    call = ask(message, timeout=remaining(context), metadata=metadata)
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        await context.abort(
            error.code(), error.details() or "", forwarded(error.trailing_metadata())
        )
    finally:
        call.cancel()
    await context.send_initial_metadata(forwarded(await call.initial_metadata()))
    context.set_trailing_metadata(forwarded(await call.trailing_metadata()))
    return answer
