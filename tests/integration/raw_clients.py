"""Clients that misbehave, as bytes on a socket: half requests over HTTP/1.1, and frames of HTTP/2."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events


def head(path: str, length: int | None = None, *more: str) -> bytes:
    """Of a POST over HTTP/1.1. ``length``: None: its body is chunked."""
    size = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
    return "\r\n".join([f"POST {path} HTTP/1.1", "host: x", size, *more, "", ""]).encode()


@contextlib.asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@dataclass(slots=True)
class Said:
    """An answer over HTTP/1.1. ``status`` 0: the connection was closed without one."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""


async def answer(reader: asyncio.StreamReader, seconds: float = 10.0) -> Said:
    """The next one, as far as it comes before the connection is closed. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        try:
            text = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        except (asyncio.IncompleteReadError, ConnectionError):
            return Said()
        first, *lines = text.rstrip().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        return Said(int(first.split()[1]), headers, body.decode())


async def unfinished(port: int, path: str, size: int, *, chunked: bool = False) -> Said:
    """Sends so much of a body, and never the last byte; what is said to that, whenever it comes."""
    async with connected(port) as (reader, writer):
        writer.write(head(path, None if chunked else size + 1))

        async def send() -> None:
            left = size
            with contextlib.suppress(ConnectionError):
                while left:
                    piece = min(left, 1024 * 1024)
                    left -= piece
                    writer.write(b"%x\r\n" % piece if chunked else b"")
                    writer.write(bytes(piece) + (b"\r\n" if chunked else b""))
                    await writer.drain()

        sending = asyncio.create_task(send())
        try:
            return await answer(reader, 60)
        finally:
            sending.cancel()


class Http2:
    """A connection of HTTP/2 that sends what it is told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self.frames = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=True, header_encoding="utf-8")
        )
        self.events: list[h2.events.Event] = []
        self.ended = False
        self.frames.initiate_connection()

    async def flush(self) -> None:
        """Sends what is to be sent."""
        self._writer.write(self.frames.data_to_send())
        await self._writer.drain()

    async def listen(self) -> None:
        """Until the other side has closed it: answers what must be answered, keeps what came."""
        with contextlib.suppress(ConnectionError):
            while data := await self._reader.read(65536):
                self.events += self.frames.receive_data(data)
                self._writer.write(self.frames.data_to_send())
        self.ended = True

    def call(self, path: str, *more: tuple[str, str], grpc: bool = True) -> int:
        """Begins a request; its stream."""
        stream = self.frames.get_next_available_stream_id()
        kind = "application/grpc" if grpc else "application/json"
        headers = [
            (":method", "POST"),
            (":path", path),
            (":scheme", "http"),
            (":authority", "x"),
            ("content-type", kind),
            ("te", "trailers"),
            *more,
        ]
        self.frames.send_headers(stream, headers)
        return stream
