"""A server of HTTP on loopback that does what a test tells it to, and what the tests of web sources share."""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult

from overbook.artifacts.sources.protocol import RemoteFile
from overbook.artifacts.sources.web.connect.zones import Zone, zone_of
from overbook.artifacts.sources.web.download import Manners
from overbook.artifacts.sources.web.files import WebFile

# Reachable, and said to be in the internet.
FAR: Final = "127.0.0.2"
ETAG: Final = '"v1"'
# Quick, so that tests need not wait.
MANNERS: Final = Manners(silence=5.0, backoff=0.01, patience=3.0)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def far_is_public(address: str) -> Zone:
    return Zone.PUBLIC if address == FAR else zone_of(address)


def without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def content(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass(slots=True)
class Told:
    """What was asked. ``headers``: names in lower case."""

    method: str
    path: str
    headers: dict[str, str]


@dataclass(slots=True)
class Served:
    """``base``: the address, without a slash at the end."""

    base: str
    told: list[Told] = field(default_factory=list)

    def file(self, name: str, size: int | None, **more: str) -> WebFile:
        """``more``: of the listed file its sha256, of the other its validator and secret."""
        listed = RemoteFile(name, size, ETAG, sha256=more.pop("sha256", ""))
        return WebFile(listed, f"{self.base}/{name}", {"X-Key": "t0psecret"}, **more)

    def asked(self) -> list[str]:
        """Method, path and Range."""
        return [
            " ".join(filter(None, (each.method, each.path, each.headers.get("range", ""))))
            for each in self.told
        ]


@asynccontextmanager
async def served(handler: Handler, host: str = "127.0.0.1") -> AsyncIterator[Served]:
    found = Served("")

    async def handle(request: web.Request) -> web.StreamResponse:
        headers = {name.lower(): value for name, value in request.headers.items()}
        found.told.append(Told(request.method, request.path_qs, headers))
        return await handler(request)

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, 0).start()
        found.base = f"http://{host}:{runner.addresses[0][1]}"
        yield found
    finally:
        await runner.cleanup()


def give(request: web.Request, data: bytes, etag: str = ETAG) -> web.Response:
    """As a proper server does: the range that was asked for, if its If-Range holds."""
    start = request.http_range.start
    if start is None or request.headers.get("If-Range", etag) != etag:
        return web.Response(body=data, headers={"ETag": etag})
    if start >= len(data):
        return web.Response(
            status=416, headers={"ETag": etag, "Content-Range": f"bytes */{len(data)}"}
        )
    told = f"bytes {start}-{len(data) - 1}/{len(data)}"
    return web.Response(
        status=206, body=data[start:], headers={"ETag": etag, "Content-Range": told}
    )


async def begin(
    request: web.Request, data: bytes, end: int, etag: str = ETAG
) -> web.StreamResponse:
    """Promise all of it from where it was asked for, and send what is before ``end``."""
    start = request.http_range.start or 0
    response = web.StreamResponse(
        status=206 if start else 200,
        headers={"ETag": etag, "Content-Length": str(len(data) - start)},
    )
    if start:
        response.headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
    await response.prepare(request)
    await response.write(data[start:end])
    return response


class Names(AbstractResolver):
    """Knows some names, each with the addresses that it says one after the other."""

    def __init__(self, **known: list[str]) -> None:
        self._known = {name.replace("_", "."): list(found) for name, found in known.items()}
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        found = self._known[host]
        address = found.pop(0) if len(found) > 1 else found[0]
        return [
            ResolveResult(
                hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0
            )
        ]

    async def close(self) -> None:
        pass


async def cut(request: web.Request) -> None:
    """End the connection where it is, when what was written has been read."""
    # The client's library throws away what it has and was not asked for yet.
    await asyncio.sleep(0.2)
    assert request.transport is not None
    request.transport.close()


def found_in(folder: Path) -> dict[str, bytes]:
    """All files, by relative name."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
