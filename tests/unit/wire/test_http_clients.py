"""HTTP at `host:port` and at `unix:/path`: the same calls, and the same answers."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from overbook.wire.http_clients import http_session


async def answer(request: web.Request) -> web.Response:
    return web.Response(text=request.raw_path)


@pytest.mark.parametrize("unix", [True, False])
async def test_both_are_asked_in_the_same_way(tmp_path: Path, unix: bool) -> None:
    app = web.Application()
    app.router.add_route("*", "/{any:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    path = tmp_path / "s"
    site = web.UnixSite(runner, path) if unix else web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    address = f"unix:{path}" if unix else f"127.0.0.1:{runner.addresses[0][1]}"
    path_and_query = "/v2/models/a%20b/ready?x=1"
    async with http_session(address) as session, session.get(path_and_query) as reply:
        assert await reply.text() == path_and_query
    await runner.cleanup()
    async with http_session(address) as session:
        with pytest.raises(aiohttp.ClientError):
            await session.get("/")
