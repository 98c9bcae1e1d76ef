"""The page of metrics of a part that is a process of its own: `/metrics`, for Prometheus, where `--metrics-port` says.

The scheduler needs none: its control API has that page.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections.abc import AsyncIterator

from aiohttp import web

from overbook.machine.options import MetricsOptions
from overbook.metrics.page import CONTENT_TYPE, PAGE
from overbook.tls.contexts import ServerContext
from overbook.tls.following import FollowedPair


class MetricsPageFailed(Exception):
    """The page cannot be where it was wished for: show the message, a retry will not help."""


@contextlib.asynccontextmanager
async def shown(where: MetricsOptions, tls: FollowedPair | None) -> AsyncIterator[None]:
    """The page is there while the block runs, where there is a port for it. Raises MetricsPageFailed.

    ``tls``: what its clients are shown, and have to show; None for plain HTTP.
    """
    if where.port is None:
        yield
        return
    app = web.Application()
    app.router.add_get("/metrics", _page)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    context = None
    if tls is not None:
        serving = ServerContext(tls.current)
        tls.on_change(serving.use)
        context = serving.context
    try:
        try:
            await web.TCPSite(runner, where.host, where.port, ssl_context=context).start()
        except OSError as error:
            raise _failure(where, error) from error
        yield
    finally:
        await runner.cleanup()


async def _page(request: web.Request) -> web.Response:
    return web.Response(body=await PAGE.text(), headers={"Content-Type": CONTENT_TYPE})


def _failure(where: MetricsOptions, error: OSError) -> MetricsPageFailed:
    if error.errno == errno.EADDRINUSE:
        return MetricsPageFailed(
            f"metrics port {where.port}: is in use on {where.host}; stop what uses it or choose another "
            "with --metrics-port"
        )
    why = error.strerror
    if error.errno is not None and not isinstance(error, socket.gaierror):
        # In the place of asyncio's words, which name the address once more.
        why = os.strerror(error.errno)
    return MetricsPageFailed(
        f"metrics address {where.host}:{where.port}: cannot listen there ({why}); "
        "expected an address of this machine"
    )
