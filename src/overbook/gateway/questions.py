"""The connections on which Envoy asks about requests (ext_authz): HTTP/1.1 over Unix sockets, one question at a time.

Knows nothing of models; `activation` answers.

A small server of our own, as the one peer is our own Envoy: with more models than fit most requests are asked about,
and over gRPC's Python server a question took longer than all that the gateway does about it (docs/adr/0013).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from overbook.wire.limits import MAX_QUESTION

_log = logging.getLogger(__name__)

_END: Final = b"\r\n\r\n"
# As many questions as the kernel lets wait to be heard at one socket.
_BACKLOG: Final = 4096

# The method, the path and the headers of a request (names in lower case) → the answer as it goes over the wire.
Check: TypeAlias = Callable[[str, str, Mapping[str, str]], Awaitable[bytes]]


class Questions:
    """Serves these sockets, all alike."""

    def __init__(self, sockets: Sequence[Path], check: Check) -> None:
        self._sockets = sockets
        self._check = check

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Serves while the block runs. Raises OSError when a socket cannot be made."""
        connections: set[_Connection] = set()
        servers: list[asyncio.Server] = []
        async with asyncio.TaskGroup() as tasks:
            try:
                for socket in self._sockets:
                    socket.unlink(missing_ok=True)
                    server = await asyncio.get_running_loop().create_unix_server(
                        lambda: _Connection(self._check, tasks, connections),
                        str(socket),
                        backlog=_BACKLOG,
                    )
                    servers.append(server)
                yield
            finally:
                for server in servers:
                    server.close()
                for connection in list(connections):
                    connection.abort()


class _Connection(asyncio.Protocol):
    def __init__(
        self, check: Check, tasks: asyncio.TaskGroup, connections: set[_Connection]
    ) -> None:
        self._check = check
        self._tasks = tasks
        self._connections = connections
        self._head = b""
        self._answering: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Envoy hangs up when the client has left: nobody wants the answer any more."""
        self._connections.discard(self)
        if self._answering is not None:
            self._answering.cancel()

    def abort(self) -> None:
        """Hang up at once."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._head += data
        if not self._head.endswith(_END):
            if len(self._head) > MAX_QUESTION:
                self._refuse("no end of its head")
            return
        head, self._head = self._head, b""
        if self._answering is not None:
            self._refuse("another before the answer to the first")
            return
        try:
            method, path, headers = _parsed(head)
        except ValueError:
            self._refuse("not HTTP/1.1")
            return
        self._answering = self._tasks.create_task(
            self._answer(method, path, headers), name=f"asked {path}"
        )

    def _refuse(self, what: str) -> None:
        _log.error("a question that Envoy would not ask: %s", what)
        self.abort()

    async def _answer(self, method: str, path: str, headers: Mapping[str, str]) -> None:
        try:
            answer = await self._check(method, path, headers)
        except Exception:
            # One request fails, with 503, and not all of them.
            _log.exception("asked about %s", path)
            self.abort()
            return
        self._answering = None
        if self._transport is not None:
            self._transport.write(answer)


def _parsed(head: bytes) -> tuple[str, str, dict[str, str]]:
    """The method, the path and the headers. Raises ValueError. Envoy sends no body: requests wait, and theirs with
    them.
    """
    first, *lines = head[: -len(_END)].decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ")
    headers = {}
    for line in lines:
        name, value = line.split(": ", 1)
        headers[name] = value
    return method, path, headers
