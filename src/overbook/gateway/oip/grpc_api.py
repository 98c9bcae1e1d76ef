"""The gRPC side of the OIP endpoints: generic handlers that say only what ``answers`` decides.

The handlers are registered under the official service names although the messages live in a proto
package of our own; on the wire there is no difference (see ``overbook.wire``).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, TypeVar

import grpc
from google.protobuf.message import Message

from overbook.gateway.oip.answers import EXTENSIONS, SERVER_NAME, Answers
from overbook.gateway.oip.errors import NoAnswer
from overbook.gateway.oip.metadata import metadata_message
from overbook.gateway.oip.methods import REPOSITORY_SERVICE, SERVICE, status_of
from overbook.gateway.oip.relay import StreamRelay
from overbook.wire import oip_pb2 as pb

# gRPC's stubs are generic over messages; a table of handlers holds many kinds.
_Handlers: TypeAlias = "dict[str, grpc.RpcMethodHandler[Any, Any]]"
_Request = TypeVar("_Request", bound=Message)
_Response = TypeVar("_Response", bound=Message)


def build_handlers(answers: Answers, relay: StreamRelay) -> tuple[grpc.GenericRpcHandler, ...]:
    """The handlers of both services, to be added to one gRPC server."""
    calls = _Calls(answers)
    repository: _Handlers = {
        "RepositoryIndex": _unary(calls.index, pb.RepositoryIndexRequest),
        "RepositoryModelLoad": _unary(calls.load, pb.RepositoryModelLoadRequest),
        "RepositoryModelUnload": _unary(calls.unload, pb.RepositoryModelUnloadRequest),
    }
    inference: _Handlers = {
        "ServerLive": _unary(calls.server_live, pb.ServerLiveRequest),
        "ServerReady": _unary(calls.server_ready, pb.ServerReadyRequest),
        "ServerMetadata": _unary(calls.server_metadata, pb.ServerMetadataRequest),
        "ModelReady": _unary(calls.model_ready, pb.ModelReadyRequest),
        "ModelMetadata": _unary(calls.model_metadata, pb.ModelMetadataRequest),
        # No serialisers: the relay passes the messages on as the bytes they are.
        "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(relay.handle),
    }
    return (
        grpc.method_handlers_generic_handler(SERVICE, {**inference, **repository}),
        grpc.method_handlers_generic_handler(REPOSITORY_SERVICE, repository),
    )


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

    def __init__(self, answers: Answers) -> None:
        self._answers = answers

    async def server_live(self, _: pb.ServerLiveRequest) -> pb.ServerLiveResponse:
        return pb.ServerLiveResponse(live=True)

    async def server_ready(self, _: pb.ServerReadyRequest) -> pb.ServerReadyResponse:
        return pb.ServerReadyResponse(ready=self._answers.servers().ready)

    async def server_metadata(self, _: pb.ServerMetadataRequest) -> pb.ServerMetadataResponse:
        return pb.ServerMetadataResponse(
            name=SERVER_NAME, version=self._answers.version, extensions=EXTENSIONS
        )

    async def model_ready(self, request: pb.ModelReadyRequest) -> pb.ModelReadyResponse:
        readiness = await self._answers.readiness(request.name, request.version)
        return pb.ModelReadyResponse(ready=readiness.ready)

    async def model_metadata(self, request: pb.ModelMetadataRequest) -> pb.ModelMetadataResponse:
        return metadata_message(await self._answers.metadata(request.name, request.version))

    async def index(self, request: pb.RepositoryIndexRequest) -> pb.RepositoryIndexResponse:
        return pb.RepositoryIndexResponse(
            models=[
                pb.RepositoryIndexResponse.ModelIndex(
                    name=item.name, state=item.state, reason=item.reason
                )
                for item in self._answers.index(ready_only=request.ready)
            ]
        )

    async def load(self, request: pb.RepositoryModelLoadRequest) -> pb.RepositoryModelLoadResponse:
        raise self._answers.refuse_repository("load", request.model_name)

    async def unload(
        self, request: pb.RepositoryModelUnloadRequest
    ) -> pb.RepositoryModelUnloadResponse:
        raise self._answers.refuse_repository("unload", request.model_name)
