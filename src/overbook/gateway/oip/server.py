"""Serves the OIP endpoints and the stream relay on two Unix sockets. Decides no answer itself."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
import uvicorn
from starlette.routing import Mount
from starlette.types import ASGIApp

from overbook.gateway.oip.answers import Answers
from overbook.gateway.oip.callers import AccessView, KnownCallers, PermittedCalls, VisibleModels
from overbook.gateway.oip.compressed import CompressedCalls
from overbook.gateway.oip.configuration import Configurations, by_call
from overbook.gateway.oip.grpc_api import build_handlers
from overbook.gateway.oip.inflating import InflatedMessages, Inflating
from overbook.gateway.oip.kept import Kept
from overbook.gateway.oip.passed_grpc import allowed_handlers
from overbook.gateway.oip.passed_on import PassedOn
from overbook.gateway.oip.passed_rest import allowed_routes
from overbook.gateway.oip.ports import (
    AllowedView,
    CatalogueView,
    ConfigurationSource,
    MetadataSource,
    Residency,
    ServersView,
)
from overbook.gateway.oip.relay import StreamRelay
from overbook.gateway.oip.repository import RepositoryControl
from overbook.gateway.oip.rest import build_app
from overbook.gateway.oip.statistics import Statistics
from overbook.gateway.snapshot.names import MEASURE_PREFIX
from overbook.wire.channel import reconnecting
from overbook.wire.limits import MAX_MESSAGE

MAX_CONCURRENT_RPCS: Final = 4096
STOP_GRACE_SECONDS: Final = 1.0
# Only Envoy connects, and it closes what is idle for an hour. To close earlier would hit its
# requests.
_KEEP_ALIVE_SECONDS: Final = 2 * 3600
_MESSAGE_OPTIONS: Final = (
    ("grpc.max_send_message_length", MAX_MESSAGE),
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    # Else gRPC takes in several MB of each stream whose messages nobody reads yet, where they come fast.
    ("grpc.http2.bdp_probe", 0),
)
_SERVER_OPTIONS: Final = (
    *_MESSAGE_OPTIONS,
    # It would inflate a message however large it becomes: `inflating` does that.
    ("grpc.per_message_decompression", 0),
)
CHANNEL_OPTIONS: Final = (
    *_MESSAGE_OPTIONS,
    ("grpc.use_local_subchannel_pool", 1),
    # A retry would need the whole stream kept in memory.
    ("grpc.enable_retries", 0),
    *reconnecting(at_most_ms=1000),
)


@dataclass(frozen=True, slots=True)
class OipSettings:
    """``relay_target``: Envoy's internal listener as a gRPC target, e.g. ``unix:/run/relay.sock``."""

    rest_socket: Path
    grpc_socket: Path
    relay_target: str
    # As long as Envoy lets a silent stream live.
    first_message_seconds: float = 300.0
    # Sooner than Envoy gives up a request that is not whole.
    begin_seconds: float = 240.0


class OipServer:
    """Runs until cancelled. ``serving`` is set while both sockets answer."""

    def __init__(
        self,
        settings: OipSettings,
        *,
        catalogue: CatalogueView,
        metadata: MetadataSource,
        configuration: ConfigurationSource,
        servers: ServersView,
        allowed: AllowedView,
        residency: Residency,
        kept: Kept,
        access: AccessView,
    ) -> None:
        catalogue, allowed = VisibleModels(catalogue, access), PermittedCalls(allowed, access)
        self._settings = settings
        self._configuration = configuration
        self._answers = answers = Answers(
            catalogue=catalogue, metadata=metadata, servers=servers, allowed=allowed
        )
        self._statistics = Statistics(answers, servers)
        self._passed = PassedOn(answers, allowed, residency, kept)
        self._control = RepositoryControl(answers, allowed, residency)
        self._relay: StreamRelay | None = None
        self._inflating = Inflating()
        self.serving = asyncio.Event()

    def leave(self) -> None:
        """Say from now on that this gateway is not ready; all else is answered as before."""
        self._answers.leave()

    async def end_quiet_streams(self) -> None:
        """Until cancelled: ask clients of streams in which nothing goes on to go elsewhere."""
        if self._relay is not None:
            await self._relay.end_quiet()

    def end_streams(self, why: str) -> None:
        """Whatever goes on in them."""
        if self._relay is not None:
            self._relay.end_all(why)

    async def run(self) -> None:
        """Serve until cancelled; then both sockets are gone. Raises OSError if one cannot be bound."""
        target = self._settings.relay_target
        with _bound(self._settings.rest_socket) as listener:
            try:
                async with (
                    grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS) as upstream,
                    asyncio.TaskGroup() as group,
                ):
                    configurations = Configurations(
                        self._answers, self._configuration, by_call(upstream)
                    )
                    routes = [
                        *allowed_routes(self._passed, self._control),
                        Mount(MEASURE_PREFIX, self._inflating.measure),
                    ]
                    rest = _RestServer(
                        KnownCallers.over_rest(
                            build_app(self._answers, self._statistics, configurations, routes)
                        )
                    )
                    group.create_task(rest.serve_until_cancelled(listener), name="oip rest")
                    await rest.started_event.wait()
                    group.create_task(self._serve_grpc(upstream, configurations), name="oip grpc")
            finally:
                self.serving.clear()

    async def _serve_grpc(self, upstream: grpc.aio.Channel, configurations: Configurations) -> None:
        path = self._settings.grpc_socket
        self._relay = relay = StreamRelay(
            answers=self._answers,
            upstream=upstream,
            inflating=self._inflating,
            first_message_seconds=self._settings.first_message_seconds,
            begin_seconds=self._settings.begin_seconds,
        )
        compressed = CompressedCalls(answers=self._answers, upstream=upstream)
        server = grpc.aio.server(
            handlers=(
                *allowed_handlers(self._passed, self._control),
                *build_handlers(self._answers, relay, compressed, self._statistics, configurations),
            ),
            # Who asks is noted before anything is read.
            interceptors=(KnownCallers.over_grpc(), InflatedMessages(self._inflating)),
            options=_SERVER_OPTIONS,
            maximum_concurrent_rpcs=MAX_CONCURRENT_RPCS,
        )
        path.unlink(missing_ok=True)
        try:
            server.add_insecure_port(f"unix:{path}")
        except RuntimeError as error:
            raise OSError(f"cannot listen on Unix socket {path}: {error}") from error
        try:
            await server.start()
            self.serving.set()
            await server.wait_for_termination()
        finally:
            await server.stop(STOP_GRACE_SECONDS)
            path.unlink(missing_ok=True)


class _RestServer(uvicorn.Server):
    """uvicorn as one task of many: it takes no signals, and it stops when its task is cancelled."""

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,
                timeout_keep_alive=_KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=int(STOP_GRACE_SECONDS),
            )
        )
        self.started_event = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.started_event.set()

    async def serve_until_cancelled(self, listener: socket.socket) -> None:
        # Not in a task group: that would cancel uvicorn half-way, and leave its connections open.
        serving = asyncio.create_task(self.serve(sockets=[listener]), name="oip uvicorn")
        try:
            await asyncio.shield(serving)
        finally:
            self.should_exit = True
            await serving


@contextlib.contextmanager
def _bound(path: Path) -> Iterator[socket.socket]:
    """A socket bound for this user only; what a killed process left at ``path`` is removed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        path.unlink(missing_ok=True)
        try:
            listener.bind(str(path))
        except OSError as error:
            raise OSError(f"cannot listen on Unix socket {path}: {error}") from error
        try:
            path.chmod(0o600)
            yield listener
        finally:
            path.unlink(missing_ok=True)
