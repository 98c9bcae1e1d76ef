"""Statistics of models, as Triton counts them: asked of the server that has the model in memory.

They are counted since the model was loaded. A cold model is not brought into memory for its statistics: they are zero,
which is what its server would say right after a load.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final

import aiohttp
import grpc

from overbook.gateway.oip.answers import Answers
from overbook.gateway.oip.errors import NoSuchCall, NotAvailable
from overbook.gateway.oip.ports import ServerAddress, ServersView
from overbook.gateway.oip.surface import TRITON
from overbook.wire.http_clients import http_session

_SECONDS: Final = 10.0
_METHOD: Final = "/inference.GRPCInferenceService/ModelStatistics"
_DURATIONS: Final = (
    *("success", "fail", "queue", "compute_input", "compute_infer", "compute_output"),
    *("cache_hit", "cache_miss"),
)


class Statistics:
    """Over both protocols. Loads nothing."""

    def __init__(self, answers: Answers, servers: ServersView) -> None:
        self._answers = answers
        self._servers = servers

    async def document(self, name: str, version: str) -> Mapping[str, object]:
        """As Triton's REST interface has it. Raises NoAnswer."""
        where = self._holder(name)
        path = f"/v2/models/{name}{f'/versions/{version}' if version else ''}/stats"
        found = None if where is None else await _get(where.rest, path)
        if found is not None:
            return found
        versions = await self._versions(name, version)
        return {"model_stats": [_zero(name, each) for each in versions]}

    async def message(self, name: str, version: str) -> Any:
        """As Triton's ModelStatistics answers. Raises NoAnswer."""
        # It brings NumPy along, and few clients ask.
        from tritonclient.grpc import service_pb2 as pb

        where = self._holder(name)
        request = pb.ModelStatisticsRequest(name=name, version=version)
        found = None if where is None else await _call(where.grpc, request)
        if found is not None:
            return pb.ModelStatisticsResponse.FromString(found)
        zero = pb.InferStatistics(**{each: pb.StatisticDuration() for each in _DURATIONS})
        versions = await self._versions(name, version)
        return pb.ModelStatisticsResponse(
            model_stats=[
                pb.ModelStatistics(name=name, version=each, inference_stats=zero)
                for each in versions
            ]
        )

    async def all_documents(self) -> Mapping[str, object]:
        """Of all models in memory, on all servers that count."""
        servers = self._servers.addresses(TRITON)
        found = await asyncio.gather(*(_get(each.rest, "/v2/models/stats") for each in servers))
        every: list[Any] = [one for each in found for one in (each or {}).get("model_stats", [])]
        return {"model_stats": [one for one in every if self._answers.knows(one["name"])]}

    async def all_messages(self) -> Any:
        """As `all_documents`."""
        from tritonclient.grpc import service_pb2 as pb

        servers = self._servers.addresses(TRITON)
        request = pb.ModelStatisticsRequest()
        found = await asyncio.gather(*(_call(each.grpc, request) for each in servers))
        every = pb.ModelStatisticsResponse.FromString(b"".join(each or b"" for each in found))
        mine = [one for one in every.model_stats if self._answers.knows(one.name)]
        return pb.ModelStatisticsResponse(model_stats=mine)

    async def _versions(self, name: str, version: str) -> list[str]:
        """Those that are asked for. Raises NoAnswer where the model does not have it."""
        if not version:
            return await self._answers.versions(name)
        await self._answers.metadata(name, version)
        return [version]

    def _holder(self, name: str) -> ServerAddress | None:
        """Which server has the model in memory. Raises NoAnswer."""
        self._answers.model(name)
        if self._answers.kind(name) != TRITON:
            raise NoSuchCall(f"model {name!r} is on a server that keeps no statistics of models")
        return self._servers.holding(name)


def _zero(name: str, version: str) -> dict[str, object]:
    return {
        "name": name,
        "version": version,
        "last_inference": 0,
        "inference_count": 0,
        "execution_count": 0,
        "inference_stats": {each: {"count": 0, "ns": 0} for each in _DURATIONS},
        "response_stats": {},
        "batch_stats": [],
        "memory_usage": [],
    }


async def _get(address: str, path: str) -> dict[str, Any] | None:
    """None: the server does not have the model now. Raises NotAvailable."""
    try:
        async with (
            http_session(address, timeout=_SECONDS) as session,
            session.get(path) as reply,
        ):
            found: dict[str, Any] | None = await reply.json() if reply.ok else None
            return found
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise NotAvailable(f"statistics: the server did not answer: {error!r}") from error


async def _call(address: str, request: Any) -> bytes | None:
    """As `_get`."""
    async with grpc.aio.insecure_channel(address) as channel:
        ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_METHOD)
        try:
            return await ask(request.SerializeToString(), timeout=_SECONDS)
        except grpc.aio.AioRpcError as error:
            if error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND):
                return None
            raise NotAvailable(
                f"statistics: the server did not answer: {error.details()}"
            ) from error
