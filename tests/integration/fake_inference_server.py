"""An inference server for the gateway's tests, on real ports: its models are there or not, slow, or unwilling."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

import grpc
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from overbook.wire import oip_pb2

SERVICE = "inference.GRPCInferenceService"
BIG = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


class FakeServer:
    """An inference server that speaks OIP over HTTP/1.1 and gRPC on real ports.

    ``counts``: it says itself when nothing of a model is in flight; then it is asked over REST only, and marks what no
    model answered, as our own MLServer does. ``own_answers``: HTTP status and gRPC code of models that refuse.
    ``hangs_up``: models whose requests break the connection, as when the process ends in them. ``heard``: the names of
    all headers that came.
    """

    def __init__(self, *, counts: bool = False) -> None:
        self.counts = counts
        self.present: Counter[str] = Counter()
        self.arrived: Counter[str] = Counter()
        self.loaded: set[str] = set()
        self.hits: Counter[str] = Counter()
        self.misses: Counter[str] = Counter()
        self.delay: dict[str, float] = {}
        self.own_answers: dict[str, tuple[int, grpc.StatusCode]] = {}
        self.hangs_up: set[str] = set()
        self.heard: set[str] = set()
        self.running = 0
        self.stream_gate = asyncio.Event()
        self.rest_port = 0
        self.grpc_port = 0

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[FakeServer]:
        app = Starlette(
            routes=[
                Route("/v2/models/{name}/infer", self._infer, methods=["POST"]),
                Route("/v2/models/{name}/versions/{v}/infer", self._version, methods=["POST"]),
                Route("/v2/models/{name}/infer_stream", self._stream, methods=["POST"]),
                Route("/v2/models/{name}/own/path", self._own_path),
                Route("/own/path", self._own_path),
            ]
        )
        config = uvicorn.Config(
            app, host="127.0.0.1", port=self.rest_port, log_config=None, lifespan="off"
        )
        rest = _Uvicorn(config)
        task = asyncio.create_task(rest.serve(), name="fake rest")
        server = grpc.aio.server(options=BIG)
        server.add_generic_rpc_handlers((self._grpc_handlers(),))
        self.grpc_port = server.add_insecure_port(f"127.0.0.1:{self.grpc_port}")
        await server.start()
        async with asyncio.timeout(10):
            while not rest.started:  # noqa: ASYNC110  uvicorn tells by a plain flag
                await asyncio.sleep(0.01)
        self.rest_port = rest.servers[0].sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            await server.stop(0)
            rest.should_exit = True
            rest.force_exit = True
            await task

    async def settle(self, model: str, passed: int) -> None:
        """Until so many requests that a gateway let through have arrived, and none is there, nor has been sent."""
        rounds = 3
        async with asyncio.timeout(10):
            while rounds:
                await asyncio.sleep(0)
                there = self.arrived[model] < passed or self.present[model]
                rounds = 3 if there else rounds - 1

    async def _work(self, name: str) -> bool:
        if name not in self.loaded:
            self.misses[name] += 1
            return False
        self.running += 1
        try:
            await asyncio.sleep(self.delay.get(name, 0))
        finally:
            self.running -= 1
        self.hits[name] += 1
        return True

    async def _infer(self, request: Request) -> Response:
        name = request.path_params["name"]
        self.present[name] += 1
        self.arrived[name] += "x-overbook-grant" in request.headers
        try:
            return await self._answer(request, name)
        finally:
            self.present[name] -= 1

    async def _answer(self, request: Request, name: str) -> Response:
        body = await request.body()
        self.heard.update(request.headers)
        if not await self._work(name):
            return self._not_here(name)
        if name in self.hangs_up:
            # uvicorn has no word for it: this is its record of the request.
            getattr(request.receive, "__self__").transport.abort()  # noqa: B009
        if name in self.own_answers:
            return JSONResponse({"error": "said the model"}, self.own_answers[name][0])
        size = int(request.headers.get("x-answer-bytes", "0"))
        if size:
            return Response(b"x" * size, media_type="application/octet-stream")
        return JSONResponse({"model_name": name, "bytes": len(body)})

    async def _version(self, request: Request) -> Response:
        name = request.path_params["name"]
        if not await self._work(name):
            return self._not_here(name)
        if request.path_params["v"] != "v1":
            return JSONResponse({"error": "no such version"}, status_code=404)
        return JSONResponse({"model_name": name})

    def _not_here(self, name: str) -> Response:
        marks = {"x-overbook-unanswered": "1"} if self.counts else {}
        return JSONResponse({"error": f"Model {name} not found"}, 404, headers=marks)

    async def _stream(self, request: Request) -> Response:
        name = request.path_params["name"]
        if not await self._work(name):
            return self._not_here(name)

        async def events() -> AsyncIterator[str]:
            yield "data: first\n\n"
            await self.stream_gate.wait()
            yield "data: last\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")

    async def _own_path(self, request: Request) -> Response:
        """Of whichever model the gateway says that it is for."""
        name = request.headers["x-overbook-model"]
        return JSONResponse({"own": name}) if await self._work(name) else self._not_here(name)

    def _grpc_handlers(self) -> grpc.GenericRpcHandler:
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "ModelInfer": grpc.unary_unary_rpc_method_handler(
                    self._grpc_infer,
                    request_deserializer=oip_pb2.ModelInferRequest.FromString,
                    response_serializer=oip_pb2.ModelInferResponse.SerializeToString,
                ),
                "ModelStreamInfer": grpc.stream_stream_rpc_method_handler(
                    self._grpc_stream,
                    request_deserializer=oip_pb2.ModelInferRequest.FromString,
                    response_serializer=oip_pb2.ModelInferResponse.SerializeToString,
                ),
            },
        )

    async def _grpc_infer(
        self,
        request: oip_pb2.ModelInferRequest,
        context: grpc.aio.ServicerContext[oip_pb2.ModelInferRequest, oip_pb2.ModelInferResponse],
    ) -> oip_pb2.ModelInferResponse:
        self.heard.update(key for key, _ in context.invocation_metadata() or ())
        if not await self._work(request.model_name):
            await context.abort(grpc.StatusCode.NOT_FOUND, f"Model {request.model_name} not found")
        if request.model_name in self.own_answers:
            await context.abort(self.own_answers[request.model_name][1], "said the model")
        answer = b"".join(request.raw_input_contents)
        return oip_pb2.ModelInferResponse(
            model_name=request.model_name, id=request.id, raw_output_contents=[answer]
        )

    async def _grpc_stream(
        self,
        requests: AsyncIterator[oip_pb2.ModelInferRequest],
        context: grpc.aio.ServicerContext[oip_pb2.ModelInferRequest, oip_pb2.ModelInferResponse],
    ) -> AsyncIterator[oip_pb2.ModelInferResponse]:
        self.heard.update(key for key, _ in context.invocation_metadata() or ())
        async for request in requests:
            if not await self._work(request.model_name):
                await context.abort(
                    grpc.StatusCode.NOT_FOUND, f"Model {request.model_name} not found"
                )
            if request.model_name in self.own_answers:
                await context.abort(self.own_answers[request.model_name][1], "said the model")
            yield oip_pb2.ModelInferResponse(model_name=request.model_name, id=request.id)


class _Uvicorn(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]  # it is a no-op
        yield
