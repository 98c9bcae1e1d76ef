"""What Triton answers about shared memory, trace and log settings, on real ports: for tests of who is told what."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from aiohttp import web
from tritonclient.grpc import service_pb2 as pb

from overbook.gateway.oip.ports import ServerAddress
from overbook.gateway.oip.surface import SERVICE

_KINDS = ("system", "cuda")
_Context = grpc.aio.ServicerContext[Any, Any]
_FIELDS = ("name", "key", "offset", "byte_size")


class FakeTriton:
    """``regions``: by kind and name. ``settings``: by "trace" and "log". ``broken``: keys or settings that it
    refuses.

    ``changes``: how often it was told something. ``models``: those that it has, with their own trace settings.
    """

    def __init__(self) -> None:
        self.regions: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in _KINDS}
        self.settings: dict[str, dict[str, Any]] = {
            "trace": {"trace_level": ["OFF"], "trace_rate": "1000"},
            "log": {"log_info": True, "log_verbose_level": 0},
        }
        self.models: dict[str, dict[str, Any]] = {}
        self.broken: set[str] = set()
        self.changes = 0
        self.address = ServerAddress("", "")

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[FakeTriton]:
        app = web.Application()
        app.add_routes(
            [
                web.get("/v2/{kind}sharedmemory/status", self._status),
                web.get("/v2/{kind}sharedmemory/region/{name}/status", self._status),
                web.post("/v2/{kind}sharedmemory/region/{name}/register", self._register),
                web.post("/v2/{kind}sharedmemory/unregister", self._unregister),
                web.post("/v2/{kind}sharedmemory/region/{name}/unregister", self._unregister),
                web.get("/v2/trace/setting", self._setting("trace")),
                web.post("/v2/trace/setting", self._setting("trace")),
                web.get("/v2/models/{name}/trace/setting", self._setting("trace")),
                web.post("/v2/models/{name}/trace/setting", self._setting("trace")),
                web.get("/v2/logging", self._setting("log")),
                web.post("/v2/logging", self._setting("log")),
            ]
        )
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server = grpc.aio.server()
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, self._handlers()),)
        )
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        rest = runner.addresses[0][1]
        self.address = ServerAddress(f"127.0.0.1:{rest}", f"127.0.0.1:{port}")
        try:
            yield self
        finally:
            await server.stop(None)
            await runner.cleanup()

    # -- what it does

    def _take(self, kind: str, region: dict[str, Any]) -> str:
        """Why not; "" when it is done."""
        self.changes += 1
        name, key = region["name"], region.get("key", "")
        if name in self.regions[kind]:
            return f"shared memory region '{name}' already in manager"
        if key in self.broken:
            return f"Unable to open shared memory region: '{key}'"
        self.regions[kind][name] = region
        return ""

    def _drop(self, kind: str, name: str) -> None:
        self.changes += 1
        if name:
            self.regions[kind].pop(name, None)
        else:
            self.regions[kind].clear()

    def _change(self, settings: dict[str, Any], changed: dict[str, Any]) -> str:
        if changed:
            self.changes += 1
        refused = self.broken & changed.keys()
        if refused:
            return f"{min(refused)} can not be updated"
        settings.update(changed)
        return ""

    # -- over REST

    async def _status(self, request: web.Request) -> web.Response:
        kind, name = request.match_info["kind"], _region(request)
        if name and name not in self.regions[kind]:
            return _error(404, f"Unable to find {kind} shared memory region: '{name}'")
        mine = self.regions[kind]
        return web.json_response([mine[each] for each in mine if name in ("", each)])

    async def _register(self, request: web.Request) -> web.Response:
        region = {"name": _region(request), **await request.json()}
        why = self._take(request.match_info["kind"], region)
        return _error(500, why) if why else web.Response()

    async def _unregister(self, request: web.Request) -> web.Response:
        self._drop(request.match_info["kind"], _region(request))
        return web.Response()

    def _setting(self, word: str) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def endpoint(request: web.Request) -> web.Response:
            settings = self.settings[word]
            if "name" in request.match_info:
                if request.match_info["name"] not in self.models:
                    return _error(400, "Request for unknown model")
                settings = self.models[request.match_info["name"]]
            if request.method == "POST":
                why = self._change(settings, await request.json())
                if why:
                    return _error(501, why)
            return web.json_response(settings)

        return endpoint

    # -- over gRPC

    def _handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        def handler(name: str, behaviour: Any) -> grpc.RpcMethodHandler[Any, Any]:
            return grpc.unary_unary_rpc_method_handler(
                behaviour,
                request_deserializer=getattr(pb, f"{name}Request").FromString,
                response_serializer=lambda message: message.SerializeToString(),
            )

        found = {
            "TraceSetting": handler("TraceSetting", self._trace),
            "LogSettings": handler("LogSettings", self._log),
        }
        for kind in _KINDS:
            for verb, behaviour in (
                ("Status", self._grpc_status(kind)),
                ("Register", self._grpc_register(kind)),
                ("Unregister", self._grpc_unregister(kind)),
            ):
                name = f"{kind.capitalize()}SharedMemory{verb}"
                found[name] = handler(name, behaviour)
        return found

    def _grpc_status(self, kind: str) -> Any:
        async def call(request: Any, context: _Context) -> Any:
            mine = self.regions[kind]
            if request.name and request.name not in mine:
                text = f"Unable to find {kind} shared memory region: '{request.name}'"
                await context.abort(grpc.StatusCode.NOT_FOUND, text)
            answer = getattr(pb, f"{kind.capitalize()}SharedMemoryStatusResponse")()
            for name, region in mine.items():
                if request.name in ("", name):
                    status = answer.regions[name]
                    for field in _FIELDS if kind == "system" else ("name", "byte_size"):
                        setattr(status, field, region[field])
            return answer

        return call

    def _grpc_register(self, kind: str) -> Any:
        async def call(request: Any, context: _Context) -> Any:
            region = {field.name: value for field, value in request.ListFields()}
            why = self._take(kind, {"offset": 0, **region})
            if why:
                await context.abort(grpc.StatusCode.INTERNAL, why)
            return getattr(pb, f"{kind.capitalize()}SharedMemoryRegisterResponse")()

        return call

    def _grpc_unregister(self, kind: str) -> Any:
        async def call(request: Any, _: _Context) -> Any:
            self._drop(kind, request.name)
            return getattr(pb, f"{kind.capitalize()}SharedMemoryUnregisterResponse")()

        return call

    async def _trace(self, request: Any, context: _Context) -> Any:
        if request.model_name and request.model_name not in self.models:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Request for unknown model")
        settings = self.models.get(request.model_name, self.settings["trace"])
        changed: dict[str, Any] = {}
        for name, each in request.settings.items():
            changed[name] = [*each.value] if name == "trace_level" else each.value[0]
        why = self._change(settings, changed)
        if why:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, why)
        answer = pb.TraceSettingResponse()
        for name, value in settings.items():
            answer.settings[name].value.extend(value if isinstance(value, list) else [value])
        return answer

    async def _log(self, request: Any, context: _Context) -> Any:
        settings = self.settings["log"]
        changed = {
            name: getattr(each, each.WhichOneof("parameter_choice"))
            for name, each in request.settings.items()
        }
        why = self._change(settings, changed)
        if why:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, why)
        answer = pb.LogSettingsResponse()
        for name, value in settings.items():
            if isinstance(value, bool):
                answer.settings[name].bool_param = value
            elif isinstance(value, int):
                answer.settings[name].uint32_param = value
            else:
                answer.settings[name].string_param = value
        return answer


def _region(request: web.Request) -> str:
    """As it stands in the path, which Triton does not decode; "" for none."""
    parts = request.raw_path.split("/")
    return parts[4] if "name" in request.match_info else ""


def _error(status: int, text: str) -> web.Response:
    return web.json_response({"error": text}, status=status)
