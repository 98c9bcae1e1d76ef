"""An inference server that reads HTTP/1.1 as strictly as it can be read, and keeps what came.

What two servers could understand in two ways must not come out of the gateway at all: whoever finds where they
differ has a second request read that nobody looked at. So whatever is not written in the one plain way is a fault here,
however harmless it may be.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote

_LINE: Final = re.compile(rb"([A-Za-z]+) (/[!-~]*) HTTP/1\.1")
_HEADER: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([^\x00-\x08\x0a-\x1f\x7f]*)")
_CHUNK: Final = re.compile(rb"([0-9A-Fa-f]{1,8})\r\n")
_MODEL: Final = re.compile(r"/v2/models/([^/?#;]+)")
# What makes a server speak something else from then on. What `upgrade` alone says nobody may follow (RFC 9110, 7.8).
_SWITCHES: Final = frozenset({b"upgrade", b"http2-settings"})


class Ambiguous(Exception):
    """Somebody else could read it otherwise."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A request as it came."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def models(self) -> frozenset[str]:
        """Those that anybody could take it to be for, however they decode and tidy up paths."""
        found = map(_MODEL.match, _readings(self.target))
        return frozenset(each[1] for each in found if each is not None)


def _readings(target: str) -> list[str]:
    path = target.partition("?")[0]
    once = unquote(path)
    readings = [path, once, unquote(once)]
    # What begins with two slashes may be taken for a host.
    readings += [re.sub("^//[^/]*", "", each) for each in readings]
    readings += [each.replace("\\", "/") for each in readings]
    readings += [re.sub("/+", "/", each) for each in readings]
    return [*readings, *map(_without_dots, readings)]


def _without_dots(path: str) -> str:
    """As RFC 3986 removes dot segments."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            kept = kept[:-1]
        elif segment != ".":
            kept.append(segment)
    return "/" + "/".join(kept).lstrip("/")


@dataclass(slots=True)
class StrictServer:
    """``faults``: what was ambiguous. ``size``: bytes of each answer's padding."""

    port: int = 0
    size: int = 0
    arrived: list[Arrived] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[StrictServer]:
        server = await asyncio.start_server(self._connection, "127.0.0.1", self.port, limit=2**20)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            try:
                while True:
                    await self._request(reader, writer)
            except Ambiguous as error:
                self.faults.append(str(error))
        writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head[:-4].split(b"\r\n")
        line = _LINE.fullmatch(first)
        if line is None:
            raise Ambiguous(f"request line {first[:200]!r}")
        headers: list[tuple[bytes, bytes]] = []
        for each in lines:
            header = _HEADER.fullmatch(each)
            if header is None:
                raise Ambiguous(f"header {each[:200]!r} of {first!r}")
            headers.append((header[1].lower(), header[2].strip()))
        body = await self._body(reader, headers, first)
        arrived = Arrived(
            line[1].decode(),
            line[2].decode(),
            tuple((name.decode(), value.decode("latin-1")) for name, value in headers),
            body,
        )
        self.arrived.append(arrived)
        text = json.dumps({"model_name": sorted(arrived.models), "padding": "x" * self.size})
        writer.write(
            f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(text)}\r\n\r\n{text}".encode()
        )
        await writer.drain()

    async def _body(
        self, reader: asyncio.StreamReader, headers: list[tuple[bytes, bytes]], first: bytes
    ) -> bytes:
        names = [name for name, _ in headers]
        if names.count(b"host") != 1:
            raise Ambiguous(f"{names.count(b'host')} hosts of {first!r}")
        kept = {
            word.strip().lower()
            for name, value in headers
            if name == b"connection"
            for word in value.split(b",")
        }
        if switches := _SWITCHES & kept:
            raise Ambiguous(f"connection: {switches} of {first!r}")
        framing = [
            (name, value)
            for name, value in headers
            if name in (b"content-length", b"transfer-encoding")
        ]
        if len(framing) > 1:
            raise Ambiguous(f"{framing} of {first!r}")
        if not framing:
            return b""
        ((name, value),) = framing
        if name == b"transfer-encoding":
            if value != b"chunked":
                raise Ambiguous(f"transfer-encoding {value!r} of {first!r}")
            return await self._chunks(reader)
        if not re.fullmatch(rb"[0-9]{1,10}", value):
            raise Ambiguous(f"content-length {value!r} of {first!r}")
        return await reader.readexactly(int(value))

    async def _chunks(self, reader: asyncio.StreamReader) -> bytes:
        body = b""
        while True:
            line = await reader.readuntil(b"\r\n")
            chunk = _CHUNK.fullmatch(line)
            if chunk is None:
                raise Ambiguous(f"chunk {line[:100]!r}")
            size = int(chunk[1], 16)
            data = await reader.readexactly(size + 2)
            if not data.endswith(b"\r\n"):
                raise Ambiguous(f"a chunk of {size} bytes ends with {data[-2:]!r}")
            if not size:
                # Trailers would stand in place of its line break.
                return body
            body += data[:-2]
