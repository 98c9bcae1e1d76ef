"""The gRPC side of the OIP endpoints: generic handlers that say only what ``answers`` decides.

The handlers are registered under the official service names although the messages live in a proto
package of our own; on the wire there is no difference (see ``overbook.wire``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, TypeVar

import grpc
from google.protobuf.message import DecodeError, Message

from overbook.gateway.oip.answers import SERVER_NAME, Answers
from overbook.gateway.oip.compressed import CompressedCalls
from overbook.gateway.oip.configuration import Configurations
from overbook.gateway.oip.errors import BadRequest, NoAnswer
from overbook.gateway.oip.metadata import metadata_message
from overbook.gateway.oip.methods import status_of
from overbook.gateway.oip.relay import StreamRelay
from overbook.gateway.oip.statistics import Statistics
from overbook.gateway.oip.surface import HEALTH_SERVICE, REPOSITORY_SERVICE, SERVICE
from overbook.gateway.snapshot.names import INFER_PATH
from overbook.wire import oip_pb2 as pb

# gRPC's stubs are generic over messages; a table of handlers holds many kinds.
_Handlers: TypeAlias = "dict[str, grpc.RpcMethodHandler[Any, Any]]"
_Request = TypeVar("_Request", bound=Message)
_Response = TypeVar("_Response", bound=Message)
# The field `status` of a HealthCheckResponse.
_SERVING, _NOT_SERVING = b"\x08\x01", b"\x08\x02"


def build_handlers(
    answers: Answers,
    relay: StreamRelay,
    compressed: CompressedCalls,
    statistics: Statistics,
    configurations: Configurations,
) -> tuple[grpc.GenericRpcHandler, ...]:
    """The handlers of all services, to be added to one gRPC server; those of `passed_grpc` go before them."""
    calls = _Calls(answers, statistics, configurations)
    repository: _Handlers = {
        "RepositoryIndex": _unary(calls.index, pb.RepositoryIndexRequest),
    }
    inference: _Handlers = {
        "ServerLive": _unary(calls.server_live, pb.ServerLiveRequest),
        "ServerReady": _unary(calls.server_ready, pb.ServerReadyRequest),
        "ServerMetadata": _unary(calls.server_metadata, pb.ServerMetadataRequest),
        "ModelReady": _unary(calls.model_ready, pb.ModelReadyRequest),
        "ModelMetadata": _unary(calls.model_metadata, pb.ModelMetadataRequest),
        # A request for statistics has the fields of one for metadata.
        "ModelStatistics": _unary(calls.statistics, pb.ModelMetadataRequest),
        "ModelConfig": _bytes(calls.configuration),
        # No serialisers: these pass the messages on as the bytes they are.
        "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(relay.handle),
        "ModelInfer": compressed.handler(INFER_PATH),
    }
    health: _Handlers = {"Check": _bytes(calls.health)}
    return (
        grpc.method_handlers_generic_handler(SERVICE, {**inference, **repository}),
        grpc.method_handlers_generic_handler(REPOSITORY_SERVICE, repository),
        grpc.method_handlers_generic_handler(HEALTH_SERVICE, health),
    )


def _bytes(call: Callable[[bytes], Awaitable[bytes]]) -> grpc.RpcMethodHandler[bytes, bytes]:
    """Of messages as the bytes they are."""

    async def behaviour(message: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        try:
            return await call(message)
        except NoAnswer as refusal:
            await context.abort(status_of(refusal), str(refusal))

    return grpc.unary_unary_rpc_method_handler(behaviour)


def _unary(
    call: Callable[[_Request], Awaitable[_Response]], request: type[_Request]
) -> grpc.RpcMethodHandler[_Request, _Response]:
    async def behaviour(
        message: _Request, context: grpc.aio.ServicerContext[_Request, _Response]
    ) -> _Response:
        try:
            return await call(message)
        except NoAnswer as refusal:
            await context.abort(status_of(refusal), str(refusal))

    return grpc.unary_unary_rpc_method_handler(
        behaviour,
        request_deserializer=request.FromString,
        response_serializer=lambda response: response.SerializeToString(),
    )


class _Calls:
    """One coroutine per unary method; they raise NoAnswer."""

    def __init__(
        self, answers: Answers, statistics: Statistics, configurations: Configurations
    ) -> None:
        self._answers = answers
        self._statistics = statistics
        self._configurations = configurations

    async def server_live(self, _: pb.ServerLiveRequest) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def server_ready(self, _: pb.ServerReadyRequest) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self._answers.servers().ready)

    async def server_metadata(self, _: pb.ServerMetadataRequest) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(
            name=SERVER_NAME, version=self._answers.version, extensions=self._answers.extensions
        )

    async def model_ready(self, request: pb.ModelReadyRequest) -> pb.ModelReadyResponse:
        readiness = await self._answers.readiness(request.name, request.version)
        return pb.ModelReadyResponse(ready=readiness.ready)

    async def model_metadata(self, request: pb.ModelMetadataRequest) -> pb.ModelMetadataResponse:
        return metadata_message(await self._answers.metadata(request.name, request.version))

    async def statistics(self, request: pb.ModelMetadataRequest) -> Any:
        if not request.name:
            return await self._statistics.all_messages()
        return await self._statistics.message(request.name, request.version)

    async def configuration(self, message: bytes) -> bytes:
        try:
            # A request for the configuration has the fields of one for metadata.
            request = pb.ModelMetadataRequest.FromString(message)
        except DecodeError:
            raise BadRequest("message: not a ModelConfigRequest") from None
        return (await self._configurations.find(request.name, request.version)).message

    async def health(self, _: bytes) -> bytes:
        return _SERVING if self._answers.servers().ready else _NOT_SERVING

    async def index(self, request: pb.RepositoryIndexRequest) -> pb.RepositoryIndexResponse:
        return pb.RepositoryIndexResponse(
            models=[
                pb.RepositoryIndexResponse.ModelIndex(
                    name=item.name, state=item.state, reason=item.reason
                )
                for item in self._answers.index(ready_only=request.ready)
            ]
        )
