"""The gRPC side of the calls that a Server may allow: handlers that go before those of `grpc_api`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from overbook.gateway.oip.asking import OverGrpc, Reply
from overbook.gateway.oip.errors import BadRequest, NoAnswer
from overbook.gateway.oip.methods import status_of
from overbook.gateway.oip.passed_on import Asked, PassedOn
from overbook.gateway.oip.repository import RepositoryControl
from overbook.gateway.oip.surface import RPCS, Call
from overbook.runtimes.server_kinds import REPOSITORY, SHARED_MEMORY, TRACE
from overbook.wire import oip_pb2 as pb
from overbook.wire.limits import MAX_FIELDS
from overbook.wire.protobuf import MalformedMessage, TooManyFields, Walk

_Context: TypeAlias = "grpc.aio.ServicerContext[bytes, bytes]"
_Answer: TypeAlias = Callable[[bytes], Awaitable[Reply]]
# In which field a message names a region or a model, by the word that allows the call.
_NAMING: Final = {SHARED_MEMORY: 1, TRACE: 2}


def allowed_handlers(
    passed: PassedOn, control: RepositoryControl
) -> tuple[grpc.GenericRpcHandler, ...]:
    """Of all services that have such calls."""
    found: dict[str, dict[str, grpc.RpcMethodHandler[bytes, bytes]]] = {}
    for call in RPCS:
        if call.allow:
            _, service, method = call.path.split("/")
            answer = (
                _controlled(control, call) if call.allow == REPOSITORY else _passed(passed, call)
            )
            found.setdefault(service, {})[method] = _handler(answer)
    return tuple(grpc.method_handlers_generic_handler(*each) for each in found.items())


def _handler(answer: _Answer) -> grpc.RpcMethodHandler[bytes, bytes]:
    """Of messages as the bytes they are."""

    async def behaviour(message: bytes, context: _Context) -> bytes:
        try:
            reply = await answer(message)
        except NoAnswer as refusal:
            await context.abort(status_of(refusal), str(refusal))
        if not reply.ok:
            await context.abort(reply.code, reply.text)
        return reply.body

    return grpc.unary_unary_rpc_method_handler(behaviour)


def _passed(passed: PassedOn, call: Call) -> _Answer:
    async def answer(message: bytes) -> Reply:
        return await passed.answer(Asked(call, OverGrpc(call.path, message), _name(call, message)))

    return answer


def _name(call: Call, message: bytes) -> str:
    """The region or the model that the message names."""
    name = b""
    try:
        for number, value in Walk(MAX_FIELDS).fields(memoryview(message)):
            if number == _NAMING.get(call.allow) and isinstance(value, memoryview):
                name = bytes(value)
    except (TooManyFields, MalformedMessage):
        raise BadRequest(f"message: not a {call.path.rpartition('/')[2]}Request") from None
    return name.decode(errors="replace")


def _controlled(control: RepositoryControl, call: Call) -> _Answer:
    act = control.load if call.path.endswith("Load") else control.unload

    async def answer(message: bytes) -> Reply:
        try:
            # A request to unload has the same fields.
            request = pb.RepositoryModelLoadRequest.FromString(message)
        except DecodeError:
            raise BadRequest("message: not a request to load or unload a model") from None
        await act(request.model_name, request.parameters)
        return Reply()

    return answer
