"""MLServer's servicer of gRPC, whose refusals are marked where no model gave them (see `unanswered`)."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from typing import Any, NoReturn

import grpc
from mlserver.grpc import dataplane_pb2 as pb
from mlserver.grpc.servicers import InferenceServicer

from overbook_mlserver.unanswered import HEADER, NotHere


class MarkingServicer(InferenceServicer):
    async def ModelInfer(  # noqa: N802  gRPC's
        self, request: pb.ModelInferRequest, context: Any
    ) -> pb.ModelInferResponse:
        return await super().ModelInfer(request, _Marking(context))

    async def ModelStreamInfer(  # noqa: N802  gRPC's
        self, requests_stream: AsyncIterator[pb.ModelInferRequest], context: Any
    ) -> AsyncIterator[pb.ModelInferResponse]:
        async for answer in super().ModelStreamInfer(requests_stream, _Marking(context)):
            yield answer


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
