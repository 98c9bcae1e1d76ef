"""Builds and runs MLServer with settings made in Python, frameworks imported first.

``parallel_workers`` is 0: with workers every worker process loads every model (memory times workers),
requests that are queued behind an unload get 404, and a dead worker pool is not noticed. More processes
are had with more server replicas, whose memory the scheduler can account for.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import os
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from overbook_mlserver import calls, frameworks, module_spaces

module_spaces.install()

import mlserver.grpc.server  # noqa: E402
import mlserver.registry  # noqa: E402
import mlserver.server  # noqa: E402
from mlserver.batching import load_batching  # noqa: E402
from mlserver.errors import MLServerError, ModelNotFound, ModelNotReady  # noqa: E402
from mlserver.handlers.custom import _CustomHandlerAttr as _HANDLER  # noqa: E402
from mlserver.model import MLModel  # noqa: E402
from mlserver.settings import ModelSettings, Settings  # noqa: E402
from mlserver.utils import install_uvloop_event_loop  # noqa: E402

from overbook_mlserver import codecs, load_warnings, own_paths  # noqa: E402
from overbook_mlserver.activity import Activity  # noqa: E402
from overbook_mlserver.binary_tensors import BinaryTensors  # noqa: E402
from overbook_mlserver.books import Books  # noqa: E402
from overbook_mlserver.encodings import Encodings  # noqa: E402
from overbook_mlserver.failures import Failures  # noqa: E402
from overbook_mlserver.gateway_endpoint import GatewayEndpoint  # noqa: E402
from overbook_mlserver.grpc_infer import GrpcInfer  # noqa: E402
from overbook_mlserver.json_bodies import JsonBodies  # noqa: E402
from overbook_mlserver.listening import listening  # noqa: E402
from overbook_mlserver.marking_servicer import MarkingServicer  # noqa: E402
from overbook_mlserver.one_at_a_time import OneAtATime  # noqa: E402
from overbook_mlserver.predictions import Predictions  # noqa: E402
from overbook_mlserver.registry import Registry  # noqa: E402
from overbook_mlserver.repository import FolderRepository  # noqa: E402
from overbook_mlserver.repository_calls import RepositoryCalls  # noqa: E402
from overbook_mlserver.rest_errors import RestErrors  # noqa: E402
from overbook_mlserver.rest_infer import RestInfer  # noqa: E402
from overbook_mlserver.samples import Samples  # noqa: E402
from overbook_mlserver.short_loads import ShortLoads  # noqa: E402
from overbook_mlserver.streams import Streams  # noqa: E402
from overbook_mlserver.traffic import Traffic  # noqa: E402
from overbook_mlserver.unanswered import NotHere, answer, own_error  # noqa: E402

# Longer than any proxy's idle timeout: the proxy closes idle connections, never the server under a request.
_KEEP_ALIVE_SECONDS = 4000
# Interpreter threads hand over this often: what a load may add to the latency of a hot request.
_SWITCH_SECONDS = 0.0005


@dataclass(frozen=True)
class Options:
    """``rest``, ``grpc``, ``infer``: where each is to listen, unix:/path or host:port. ``shared``: a descriptor of
    memory that the agent reads, for `calls`.
    """

    rest: str
    grpc: str
    infer: str
    models: str
    state: str
    max_message_bytes: int
    shared: int | None


class OverbookServer(mlserver.server.MLServer):
    def __init__(self, settings: Settings, infer: str) -> None:
        self._one_at_a_time = OneAtATime()
        self._short_loads = ShortLoads(self._one_at_a_time.typical)
        self._activity = Activity()
        self._samples = Samples()
        self._books = Books()
        super().__init__(settings)
        self._model_repository.attach(self._model_registry)
        self._rest_server._app.add_exception_handler(NotHere, answer)
        self._rest_server._app.add_exception_handler(MLServerError, own_error)
        mlserver.grpc.server.InferenceServicer = functools.partial(MarkingServicer, self._activity)
        self._rest_server._app.add_middleware(BinaryTensors, data_plane=self._data_plane)
        self._rest_server._app.add_middleware(JsonBodies)
        self._rest_server._app.add_middleware(Encodings, longest=settings.grpc_max_message_length)
        self._rest_server._app.add_middleware(Failures)
        # The agent tells of loads and unloads; a line for each cost 8 % of a small model's.
        mlserver.registry.logger = logging.getLogger("mlserver.registry")
        mlserver.registry.logger.setLevel(logging.WARNING)
        # They would keep one child per model name for ever; `books` has what they count.
        silent = _NoMetric()
        self._data_plane._ModelInferRequestSuccess = silent
        self._data_plane._ModelInferRequestFailure = silent
        self._data_plane._ModelInferRequestDuration = silent
        predictions = Predictions(
            self._model_registry.held,
            self._short_loads,
            self._samples,
            self._books,
            self._data_plane.infer,
        )
        self._data_plane.infer = predictions.infer
        self._traffic = Traffic()
        streams = Streams(self._traffic, self._books, self._data_plane.infer_stream)
        self._data_plane.infer_stream = streams.infer_stream
        self._gateway_endpoint = self._create_gateway_endpoint(infer)

    def _create_gateway_endpoint(self, address: str) -> GatewayEndpoint:
        app = self._rest_server._app
        servicer = MarkingServicer(
            self._activity, self._data_plane, self._model_repository_handlers
        )
        errors, traffic = RestErrors(app), self._traffic
        return GatewayEndpoint(
            app,
            [
                RestInfer(app, self._data_plane, errors),
                GrpcInfer(servicer, self._settings.grpc_max_message_length),
                RepositoryCalls(
                    self._model_registry,
                    errors,
                    traffic,
                    self._activity,
                    self._samples,
                    self._books,
                ),
            ],
            self._one_at_a_time,
            traffic,
            self._activity,
            listening=listening(address),
            keep_alive=_KEEP_ALIVE_SECONDS,
        )

    async def start(self, models_settings: list[ModelSettings] = []) -> None:  # noqa: B006  MLServer's
        await asyncio.gather(super().start(models_settings), self._gateway_endpoint.serve())

    async def stop(self, sig: int | None = None) -> None:
        calls.end()
        self._gateway_endpoint.stop()
        await super().stop(sig)

    async def add_custom_handlers(self, model: MLModel) -> MLModel:
        if _has_handlers(model):
            own_paths.add(self._rest_server._app, model)
        return model

    async def remove_custom_handlers(self, model: MLModel) -> MLModel:
        return await super().remove_custom_handlers(model) if _has_handlers(model) else model

    def _create_model_registry(self) -> Registry:
        return Registry(
            self._short_loads,
            self._activity,
            self._books,
            on_model_load=[self.add_custom_handlers, load_batching],
            # MLServer forgets the batching of a reloaded model.
            on_model_reload=[self.reload_custom_handlers, _reload_batching],
            on_model_unload=[self.remove_custom_handlers],
        )


def _has_handlers(model: MLModel) -> bool:
    """MLServer's own search asks for the value of everything that a model has, twice in its life."""
    parts = (part for held in (model, *type(model).__mro__) for part in vars(held).values())
    return any(hasattr(part, _HANDLER) for part in parts)


async def _reload_batching(old: MLModel, new: MLModel) -> MLModel:
    return await load_batching(new)


class _NoMetric:
    def labels(self, **_labels: Any) -> _NoMetric:
        return self

    def inc(self) -> None:
        return None

    def time(self) -> AbstractContextManager[None]:
        return nullcontext()

    def count_exceptions(self) -> AbstractContextManager[None]:
        return nullcontext()


class _Expected(logging.Filter):
    """No traceback per request that raced with an eviction: routing handles those."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, (ModelNotFound, ModelNotReady))


def run(options: Options) -> None:
    """Import the frameworks, then serve until a signal ends the process."""
    os.makedirs(options.state, exist_ok=True)
    if options.shared is not None:
        calls.record(options.shared)
    frameworks.import_all()
    codecs.install()
    load_warnings.install()
    sys.setswitchinterval(_SWITCH_SECONDS)
    install_uvloop_event_loop()
    # What is imported now lives as long as the process: the collector need not walk it after unloads.
    gc.collect()
    gc.freeze()
    asyncio.run(_serve(_settings(options), options.infer))
    # Nothing is left to save, and tearing down the imported frameworks would take another second.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


async def _serve(settings: Settings, infer: str) -> None:
    server = OverbookServer(settings, infer)
    for handler in logging.getLogger("mlserver").handlers:
        handler.addFilter(_Expected())
    await server.start([])


def _settings(options: Options) -> Settings:
    # MLServer puts the two of them together again, also where they are the path of a Unix socket.
    host, _, port = options.grpc.rpartition(":")
    rest = listening(options.rest)
    settings = Settings(
        debug=False,
        host=host,
        http_port=rest.get("port", 1),
        grpc_port=int(port),
        grpc_max_message_length=options.max_message_bytes,
        parallel_workers=0,
        metrics_endpoint=None,
        metrics_dir=os.path.join(options.state, "metrics"),
        environments_dir=os.path.join(options.state, "environments"),
        model_repository_root=options.models,
        model_repository_implementation=FolderRepository,
        load_models_at_startup=False,
        # Gzip would hold back streams and block the event loop for seconds on large bodies.
        gzip_enabled=False,
        cache_enabled=False,
    )
    settings._custom_rest_server_settings = {"timeout_keep_alive": _KEEP_ALIVE_SECONDS, **rest}
    settings._custom_grpc_server_settings = {
        # Two processes on one port would split the traffic between them in silence.
        "grpc.so_reuseport": 0,
        # Else gRPC takes in up to 10 MB of each stream whose messages nobody reads yet, where they come fast.
        "grpc.http2.bdp_probe": 0,
    }
    return settings
