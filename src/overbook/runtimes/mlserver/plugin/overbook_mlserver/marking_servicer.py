"""MLServer's servicer of gRPC, whose refusals are marked where no model gave them (see `unanswered`).

Of streams, which come past the endpoint for gateways, it also counts what their messages hold (see `activity`).
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import Any, NoReturn

import grpc
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.servicers import InferenceServicer

from overbook_mlserver.activity import Activity, Held
from overbook_mlserver.unanswered import HEADER, NotHere


class MarkingServicer(InferenceServicer):
    """``args``: MLServer's."""

    def __init__(self, activity: Activity, *args: Any) -> None:
        super().__init__(*args)
        self._activity = activity

    async def ModelInfer(  # noqa: N802  gRPC's
        self, request: pb.ModelInferRequest, context: Any
    ) -> pb.ModelInferResponse:
        return await super().ModelInfer(request, _Marking(context))

    async def ModelStreamInfer(  # noqa: N802  gRPC's
        self, requests_stream: AsyncIterator[pb.ModelInferRequest], context: Any
    ) -> AsyncIterator[pb.ModelInferResponse]:
        held = Held(self._activity)
        requests = _counted(requests_stream, held)
        try:
            async for answer in super().ModelStreamInfer(requests, _Marking(context)):
                size = answer.ByteSize()
                held.answer(size)
                yield answer
                held.taken(size)
        finally:
            held.end()


async def _counted(
    requests: AsyncIterator[pb.ModelInferRequest], held: Held
) -> AsyncIterator[pb.ModelInferRequest]:
    async for request in requests:
        held.ask(request.model_name.encode(), request.ByteSize())
        yield request
        held.wait()


class _Marking:
    """The context of a call, which is marked when it is aborted."""

    def __init__(self, context: Any) -> None:
        self._context = context

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    async def abort(self, code: grpc.StatusCode, details: str = "") -> NoReturn:
        # The servicer aborts while it handles what was raised.
        not_here = isinstance(sys.exc_info()[1], NotHere)
        await self._context.abort(code, details, ((HEADER, "1"),) if not_here else ())
        raise AssertionError("abort returned")
