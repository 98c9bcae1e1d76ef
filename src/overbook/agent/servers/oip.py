"""Asks an Open Inference Protocol server, over gRPC and REST, and names what went wrong.

Every call has a deadline. No retries here, as the caller knows what a repeated load would mean; only an index that
fell over a folder which was being taken away is asked for again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Final, Protocol, Self, TypeVar

import aiohttp
import grpc
from google.protobuf.message import Message

from overbook.agent.servers.bounded import read_up_to
from overbook.agent.servers.protocol import (
    Addresses,
    Configuration,
    ModelRejected,
    Presence,
    ServerError,
    ServerUnreachable,
)
from overbook.wire import oip_pb2
from overbook.wire.channel import reconnecting
from overbook.wire.http_clients import http_session

_LIVE: Final = "/v2/health/live"
_SERVICE: Final = "/inference.GRPCInferenceService/"
_OPTIONS: Final = (
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    *reconnecting(at_most_ms=500),
)
# Triton lists what it finds in its folder, loaded or not, and what is on its way out takes no requests.
_STATES: Final = {
    "READY": Presence.READY,
    "UNAVAILABLE": Presence.ABSENT,
    "UNLOADING": Presence.ABSENT,
    "": Presence.ABSENT,
}
# Triton lists the names in its folder, then looks at each; one that has gone in between ends the call.
_FOLDER_WENT: Final = "failed to stat file"
_INDEX_TRIES: Final = 3
_GONE: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
    }
)

Reply = TypeVar("Reply", bound=Message)
Reply_co = TypeVar("Reply_co", bound=Message, covariant=True)


class _MessageType(Protocol[Reply_co]):
    """A generated message class."""

    def FromString(self, data: bytes) -> Reply_co: ...  # noqa: N802


class OipClient:
    """Connections to one server. Use as an async context manager, or `close` it."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        self._channel = grpc.aio.insecure_channel(addresses.grpc, options=_OPTIONS)
        places = {addresses.rest, addresses.infer, addresses.metrics} - {""}
        self._http = {address: http_session(address) for address in places}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._channel.close()
        for each in self._http.values():
            await each.close()

    async def live_rest(self, *, timeout: float) -> bool:
        """Wherever it speaks HTTP."""
        ports = filter(None, (self._addresses.rest, self._addresses.infer))
        try:
            return all([(await self._get(at, _LIVE, timeout))[0] == HTTPStatus.OK for at in ports])
        except ServerUnreachable:
            return False

    async def live_grpc(self, *, timeout: float) -> bool:
        try:
            reply = await self._call(
                "ServerLive",
                oip_pb2.ServerLiveRequest(),
                oip_pb2.ServerLiveResponse,
                timeout=timeout,
            )
        except grpc.aio.AioRpcError:
            return False
        return reply.live

    async def load(self, name: str, *, timeout: float) -> None:
        """Raises ModelRejected with the server's words, ServerUnreachable."""
        request = oip_pb2.RepositoryModelLoadRequest(model_name=name)
        try:
            await self._call(
                "RepositoryModelLoad",
                request,
                oip_pb2.RepositoryModelLoadResponse,
                timeout=timeout,
            )
        except grpc.aio.AioRpcError as error:
            raise _load_error(name, error, timeout) from error

    async def unload(self, name: str, *, timeout: float) -> bool:
        """False when the server did not know the model. Raises ServerUnreachable, ModelRejected."""
        request = oip_pb2.RepositoryModelUnloadRequest(model_name=name)
        try:
            await self._call(
                "RepositoryModelUnload",
                request,
                oip_pb2.RepositoryModelUnloadResponse,
                timeout=timeout,
            )
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.NOT_FOUND:
                return False
            raise _load_error(name, error, timeout) from error
        return True

    async def index(self, *, timeout: float) -> dict[str, Presence]:
        """Raises ServerUnreachable."""
        states = await self.index_states(timeout=timeout)
        return {name: _presence(state) for name, state in states.items()}

    async def index_states(self, *, timeout: float) -> dict[str, str]:
        """In the server's own words. Raises ServerUnreachable."""
        for left in reversed(range(_INDEX_TRIES)):
            try:
                reply = await self._call(
                    "RepositoryIndex",
                    oip_pb2.RepositoryIndexRequest(),
                    oip_pb2.RepositoryIndexResponse,
                    timeout=timeout,
                )
            except grpc.aio.AioRpcError as error:
                if left and _FOLDER_WENT in (error.details() or ""):
                    continue
                raise _unreachable("index", error, timeout) from error
            break
        return {entry.name: entry.state for entry in reply.models}

    async def presence(self, name: str, *, timeout: float) -> Presence:
        """Raises ServerUnreachable. Only a 404 says that the model is absent: 400 is "not ready yet"."""
        status, _ = await self._get(self._addresses.rest, f"/v2/models/{name}/ready", timeout)
        if status == HTTPStatus.OK:
            return Presence.READY
        if status == HTTPStatus.NOT_FOUND:
            return Presence.ABSENT
        return Presence.LOADING

    async def metadata(self, name: str, *, timeout: float) -> Mapping[str, object]:
        """Raises ModelRejected when the model is not loaded, ServerUnreachable."""
        status, body = await self._get(self._addresses.rest, f"/v2/models/{name}", timeout)
        text = body.decode("utf-8", "replace")
        if status != HTTPStatus.OK:
            raise ModelRejected(f"metadata of {name}: {status} {one_line(text)}")
        found = json.loads(text)
        if not isinstance(found, dict):
            raise ModelRejected(f"metadata of {name}: expected an object, got {one_line(text)}")
        return found

    async def configuration(self, name: str, *, timeout: float) -> Configuration:
        """Raises ModelRejected when the model is not loaded, ServerUnreachable."""
        status, body = await self._get(self._addresses.rest, f"/v2/models/{name}/config", timeout)
        if status != HTTPStatus.OK:
            text = body.decode("utf-8", "replace")
            raise ModelRejected(f"configuration of {name}: {status} {one_line(text)}")
        # A request for the configuration has the fields of one for metadata; the answer passes as the bytes it is.
        ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(
            f"{_SERVICE}ModelConfig"
        )
        request = oip_pb2.ModelMetadataRequest(name=name)
        try:
            message = await ask(request.SerializeToString(), timeout=timeout)
        except grpc.aio.AioRpcError as error:
            raise _unreachable(f"configuration of {name}", error, timeout) from error
        return Configuration(json=body, message=message)

    async def metrics(self, *, most: int, timeout: float) -> tuple[bytes, bool]:
        """What it measures, up to ``most`` bytes, and whether that is all. Raises ServerUnreachable."""
        where = self._addresses.metrics
        within = aiohttp.ClientTimeout(timeout)
        try:
            async with self._http[where].get("/metrics", timeout=within) as reply:
                if reply.status == HTTPStatus.OK:
                    return await read_up_to(reply, most)
                told = f"HTTP {reply.status}"
        except (aiohttp.ClientError, TimeoutError) as error:
            told = f"{type(error).__name__} after at most {timeout:g} s"
        raise ServerUnreachable(f"metrics of {where}: {told}")

    async def _get(self, address: str, path: str, timeout: float) -> tuple[int, bytes]:
        """Status and body. Raises ServerUnreachable."""
        within = aiohttp.ClientTimeout(timeout)
        try:
            async with self._http[address].get(path, timeout=within) as reply:
                return reply.status, await reply.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ServerUnreachable(
                f"GET {path} of {address}: {type(error).__name__} after at most {timeout:g} s"
            ) from error

    async def _call(
        self, method: str, request: Message, reply: _MessageType[Reply], *, timeout: float
    ) -> Reply:
        call = self._channel.unary_unary(
            _SERVICE + method,
            request_serializer=_serialised,
            response_deserializer=reply.FromString,
        )
        answer: Reply = await call(request, timeout=timeout)
        return answer


def _presence(state: str) -> Presence:
    # MLServer writes "State.READY" where the protocol says "READY".
    return _STATES.get(state.rpartition(".")[2], Presence.LOADING)


def _serialised(message: Message) -> bytes:
    return message.SerializeToString()


def one_line(text: str, limit: int = 500) -> str:
    """Whitespace collapsed, cut at ``limit`` characters."""
    flat = " ".join(text.split())
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def _load_error(name: str, error: grpc.aio.AioRpcError, timeout: float) -> ServerError:
    if error.code() in _GONE:
        return _unreachable(name, error, timeout)
    return ModelRejected(one_line(error.details() or f"{error.code().name}, no reason given"))


def _unreachable(subject: str, error: grpc.aio.AioRpcError, timeout: float) -> ServerUnreachable:
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return ServerUnreachable(f"{subject}: no answer within {timeout:g} s")
    return ServerUnreachable(f"{subject}: {error.code().name}: {one_line(error.details() or '')}")
