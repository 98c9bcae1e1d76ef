"""A model's configuration, as Triton has it: what its server said when the model was loaded last.

So a cold model stays cold. One that was never loaded is, for this: nobody but its server knows what it makes of the
files.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import grpc

from overbook.gateway.oip.answers import Answers
from overbook.gateway.oip.errors import BadRequest, NoAnswer, NoSuchCall, NotAvailable, UnknownModel
from overbook.gateway.oip.ports import ConfigurationSource, ServersConfiguration
from overbook.gateway.oip.surface import TRITON
from overbook.gateway.snapshot.names import CONFIG_PATH, MODEL_HEADER
from overbook.wire import oip_pb2 as pb

# The agent asks its server right after the load.
_TOLD_SECONDS: Final = 5.0
_PAUSE_SECONDS: Final = 0.02
_REFUSALS: Final[dict[grpc.StatusCode, type[NoAnswer]]] = {
    grpc.StatusCode.NOT_FOUND: UnknownModel,
    grpc.StatusCode.INVALID_ARGUMENT: BadRequest,
}


Load = Callable[[str], Awaitable[None]]
"""Brings a model into memory. Raises NoAnswer."""


def by_call(upstream: grpc.aio.Channel) -> Load:
    """A load as any request causes it. ``upstream``: a channel to Envoy's internal listener."""
    ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = upstream.unary_unary(CONFIG_PATH)

    async def load(name: str) -> None:
        # A request for the configuration has the fields of one for metadata.
        message = pb.ModelMetadataRequest(name=name).SerializeToString()
        try:
            await ask(message, metadata=((MODEL_HEADER, name),))
        except grpc.aio.AioRpcError as error:
            refusal = _REFUSALS.get(error.code(), NotAvailable)
            raise refusal(error.details() or f"model {name!r} could not be loaded") from error

    return load


class Configurations:
    """Over both protocols."""

    def __init__(self, answers: Answers, source: ConfigurationSource, load: Load) -> None:
        self._answers = answers
        self._source = source
        self._load = load

    async def find(self, name: str, version: str) -> ServersConfiguration:
        """Raises NoAnswer."""
        self._answers.model(name)
        if self._answers.kind(name) not in (TRITON, ""):
            raise NoSuchCall(f"model {name!r} is on a server that has no configuration of models")
        if version:
            await self._answers.metadata(name, version)
        found = await self._source(name)
        if found is None:
            await self._load(name)
            found = await self._told(name)
        return found

    async def _told(self, name: str) -> ServersConfiguration:
        for _ in range(round(_TOLD_SECONDS / _PAUSE_SECONDS)):
            found = await self._source(name)
            if found is not None:
                return found
            await asyncio.sleep(_PAUSE_SECONDS)
        raise NotAvailable(
            f"model {name!r} has no configuration now: its server did not tell it; try again"
        )
