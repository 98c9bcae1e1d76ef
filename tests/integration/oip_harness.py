"""A running OipServer on sockets of its own, a scripted upstream behind its relay, and a TCP door for clients."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import grpc

from overbook.gateway.oip.kept import Kept
from overbook.gateway.oip.methods import STREAM_METHOD
from overbook.gateway.oip.server import OipServer, OipSettings
from overbook.wire.limits import MAX_MESSAGE
from tests.unit.gateway.oip.access import FakeAccess
from tests.unit.gateway.oip.catalogue import FakeAllowed, FakeCatalogue, FakeResidency

Context = grpc.aio.ServicerContext[bytes, bytes]
Script = Callable[[Context], Awaitable[None]]
OPTIONS = (
    ("grpc.max_send_message_length", MAX_MESSAGE),
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.use_local_subchannel_pool", 1),
)


class Upstream:
    """What stands behind the relay. ``script`` is the behaviour of the next streams."""

    def __init__(self) -> None:
        self.script: Script | None = None
        self.metadata: list[tuple[str, str | bytes]] = []
        self.deadline: float | None = None
        self.started = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def handle(self, _: object, context: Context) -> None:
        self.metadata = list(context.invocation_metadata() or ())
        self.deadline = context.time_remaining()
        self.started.set()
        assert self.script is not None, "the test expects no stream to come this far"
        try:
            await self.script(context)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise


@dataclass(frozen=True, slots=True)
class Running:
    rest: Path
    grpc_target: str
    upstream: Upstream
    catalogue: FakeCatalogue
    oip: OipServer


@contextlib.asynccontextmanager
async def running(
    catalogue: FakeCatalogue,
    *,
    first_message_seconds: float = 30.0,
    allowed: FakeAllowed | None = None,
    residency: FakeResidency | None = None,
    kept: Kept | None = None,
) -> AsyncIterator[Running]:
    with tempfile.TemporaryDirectory(prefix="oip") as folder:
        root = Path(folder)
        upstream = Upstream()
        server = grpc.aio.server(options=OPTIONS)
        service, method = STREAM_METHOD.strip("/").split("/")
        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.stream_stream_rpc_method_handler(
            upstream.handle
        )
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service, {method: handler}),)
        )
        server.add_insecure_port(f"unix:{root}/up.sock")
        await server.start()
        oip = OipServer(
            OipSettings(
                rest_socket=root / "rest.sock",
                grpc_socket=root / "grpc.sock",
                relay_target=f"unix:{root}/up.sock",
                first_message_seconds=first_message_seconds,
            ),
            catalogue=catalogue,
            metadata=catalogue.metadata,
            configuration=catalogue.configuration,
            servers=catalogue,
            allowed=allowed or FakeAllowed(),
            residency=residency or FakeResidency(),
            kept=kept or Kept(),
            access=FakeAccess(),
        )
        task = asyncio.create_task(oip.run())
        try:
            async with asyncio.timeout(10):
                await oip.serving.wait()
            yield Running(root / "rest.sock", f"unix:{root}/grpc.sock", upstream, catalogue, oip)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await server.stop(None)
        assert not (root / "rest.sock").exists()
        assert not (root / "grpc.sock").exists()


@contextlib.asynccontextmanager
async def tcp_door(socket_path: Path) -> AsyncIterator[int]:
    """A loopback port whose connections lead to the Unix socket, for clients that know only TCP."""

    async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(socket_path)
        async with asyncio.TaskGroup() as group:
            group.create_task(_copy(reader, inner_writer))
            group.create_task(_copy(inner_reader, writer))

    server = await asyncio.start_server(connect, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
