"""Stands between a client and a server: counts the requests of HTTP, and does to connections what bad networks do."""

from __future__ import annotations

import asyncio
import contextlib
import re
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Final

from tests.stores.processes import HOST

_CHUNK: Final = 64 * 1024
_HEAD: Final = re.compile(rb"(?:^|\r\n)(GET|HEAD|PUT|POST|DELETE) (\S+) HTTP/1\.[01]\r\n")
_JOIN_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Faults:
    """What happens to connections. ``cut_after`` and ``hang_after``: bytes that a server's side of one connection may
    send before it is cut or says nothing more; ``damage_at``: the one of these bytes that comes as another. ``rate``:
    bytes per second of each connection. ``refuse``: new connections are closed at once. ``answer``: instead of the
    server's, to each request.
    """

    cut_after: int | None = None
    hang_after: int | None = None
    damage_at: int | None = None
    rate: int | None = None
    refuse: bool = False
    answer: bytes = b""


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str


class Proxy:
    """Of `proxy`. Its methods may be called from any thread."""

    def __init__(self, server: int) -> None:
        self.port = 0
        self.faults = Faults()
        self._server = server
        self._requests: list[Request] = []
        self._sent = 0
        self._accepted = 0
        self._connections: set[asyncio.Task[None]] = set()
        self._healed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def requests(self) -> list[Request]:
        """All since the last `forget`, in the order in which they came."""
        return list(self._requests)

    @property
    def sent(self) -> int:
        """Bytes that clients were sent since the last `forget`."""
        return self._sent

    @property
    def accepted(self) -> int:
        """Connections that clients made since the last `forget`: what can be counted of any protocol."""
        return self._accepted

    def forget(self) -> None:
        self._requests.clear()
        self._sent = 0
        self._accepted = 0

    @contextlib.contextmanager
    def with_faults(self, faults: Faults) -> Iterator[None]:
        """Inside, connections suffer; those that hang are cut at the end."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._healed.clear)
        self.faults = faults
        try:
            yield
        finally:
            self.faults = Faults()
            self._loop.call_soon_threadsafe(self._healed.set)

    async def serve(self, ready: threading.Event, stop: asyncio.Event) -> None:
        self._loop = asyncio.get_running_loop()
        listener = await asyncio.start_server(self._accept, HOST, self.port)
        self.port = listener.sockets[0].getsockname()[1]
        ready.set()
        async with listener:
            await stop.wait()
            listener.close()
            for connection in self._connections:
                connection.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)

    def stop(self, stop: asyncio.Event) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(stop.set)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._accepted += 1
        self._connections.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await self._connection(reader, writer)
        finally:
            self._connections.discard(task)
            writer.transport.abort()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.faults.refuse:
            return
        async with _connected(self._server) as (from_server, to_server):
            up = asyncio.ensure_future(self._up(reader, to_server, writer))
            down = asyncio.ensure_future(self._down(from_server, writer))
            try:
                await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
                if up.done() and not up.exception():
                    await asyncio.wait({down}, timeout=_JOIN_S)
            finally:
                up.cancel()
                down.cancel()
                await asyncio.gather(up, down, return_exceptions=True)

    async def _up(
        self,
        reader: asyncio.StreamReader,
        server: asyncio.StreamWriter,
        client: asyncio.StreamWriter,
    ) -> None:
        while data := await reader.read(_CHUNK):
            for method, path in _HEAD.findall(data):
                self._requests.append(Request(method.decode(), path.decode()))
                if self.faults.answer:
                    client.write(self.faults.answer)
            if not self.faults.answer:
                server.write(data)
                await server.drain()
        server.write_eof()

    async def _down(self, server: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        sent = 0
        while data := await server.read(_CHUNK):
            faults = self.faults
            if faults.hang_after is not None and sent + len(data) > faults.hang_after:
                await self._healed.wait()
                return
            if faults.cut_after is not None and sent + len(data) > faults.cut_after:
                client.write(data[: faults.cut_after - sent])
                await client.drain()
                return
            if faults.damage_at is not None and sent <= faults.damage_at < sent + len(data):
                data = _damaged(data, faults.damage_at - sent)
            client.write(data)
            await client.drain()
            sent += len(data)
            self._sent += len(data)
            if faults.rate is not None:
                await asyncio.sleep(len(data) / faults.rate)


def _damaged(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@contextlib.asynccontextmanager
async def _connected(
    port: int,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


@contextlib.contextmanager
def proxy(server: int, port: int = 0) -> Iterator[Proxy]:
    """A proxy before the ``server`` on that port of loopback, in a thread of its own. ``port``: 0 for any."""
    made = Proxy(server)
    made.port = port
    ready, stop = threading.Event(), asyncio.Event()
    serving = made.serve(ready, stop)
    thread = threading.Thread(target=lambda: asyncio.run(serving), name="proxy", daemon=True)
    thread.start()
    try:
        if not ready.wait(_JOIN_S):
            raise RuntimeError("the proxy did not start")
        yield made
    finally:
        made.stop(stop)
        thread.join(_JOIN_S)
