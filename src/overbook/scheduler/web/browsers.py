"""Which requests that a browser sends for a web page are let in: those of our own pages, and of origins that are named.

Any page may have its visitor's browser send requests here, with or without a body, and hold some of them open. It
cannot say that they are not its own: the browser adds Origin and Sec-Fetch-Site. Programs send neither, and are let in.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from overbook.manifests.problems import shown
from overbook.scheduler.answers import refusal, told_call

_READS: Final = frozenset({"GET", "HEAD"})
# Of our own page, and of somebody who typed the address or opened a bookmark.
_OURS: Final = frozenset({"same-origin", "none"})


def foreign(method: str, headers: Headers, origins: Collection[str], *, secure: bool) -> str:
    """What tells that the request was sent for somebody else's page, in words; "" when nothing does.

    ``origins``: whose pages are let in besides our own, such as https://console.example. ``secure``: it came over TLS.
    """
    origin, host = headers.get("origin"), headers.get("host", "")
    if origin is not None:
        if origin.lower() in origins:
            return ""
        # Whether the host is ours was looked at before. A page of it in plain may be anybody's in between.
        scheme, _, ours = origin.lower().partition("://")
        if ours != host.lower() or (secure and scheme != "https"):
            return f"origin: {shown(origin)}"
    site = headers.get("sec-fetch-site")
    if site is None or site in _OURS or (method in _READS and _is_link(headers)):
        return ""
    return f"sec-fetch-site: {shown(site)}"


def _is_link(headers: Headers) -> bool:
    """Whether somebody goes from another page to one of ours, in a window of its own."""
    return (
        headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    )


class BrowserCheck:
    """Refuses what was sent for somebody else's page. ASGI middleware."""

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        self._app: Final = app
        self._origins: Final = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            secure = scope.get("scheme") == "https"
            why = foreign(scope["method"], Headers(scope=scope), self._origins, secure=secure)
            if why:
                told = (
                    f"{told_call(scope)}: {why}: is another web page's; expected this API's own, or an origin that the "
                    "scheduler was started with (--cors-origins)"
                )
                await refusal(told, 403)(scope, receive, send)
                return
        await self._app(scope, receive, send)
