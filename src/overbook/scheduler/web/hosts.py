"""By which names the control API may be asked for: against DNS rebinding.

A web page of evil.example can have its own name lead to this machine, and is then, to the browser, of the same origin
as the API. What gives it away is the Host header, which has that name. An address in its place cannot be had by anybody
else, so all addresses are let in: that is also how kubelets and Prometheus ask.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from overbook.manifests.problems import shown
from overbook.scheduler.answers import refusal, told_call

_HOST: Final = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[^\[\]:@/\s]+))(?::[0-9]*)?")
_LOOPBACK: Final = "localhost"
_ANY: Final = "*"


@dataclass(frozen=True, slots=True)
class KnownHosts:
    """``names`` in lower case; one that begins with "*." stands for all names that end so, "*" for any. ``certified``:
    those that the certificate in use says, as they are now.
    """

    names: frozenset[str]
    certified: Callable[[], Iterable[str]]

    def knows(self, host: str) -> bool:
        """Whether a Host header, with or without a port, has an address or one of the names."""
        found = _HOST.fullmatch(host)
        if found is None:
            return False
        if found["six"] is not None:
            return _is_address(found["six"])
        name = found["name"].lower().removesuffix(".")
        if name in self.names or _ANY in self.names or _is_address(name):
            return True
        return any(
            name == each or (each.startswith("*.") and name.endswith(each.removeprefix("*")))
            for each in (*self.names, *map(str.lower, self.certified()))
        )


def known_hosts(
    listen: str,
    machine: str,
    more: Iterable[str] = (),
    certified: Callable[[], Iterable[str]] = tuple,
) -> KnownHosts:
    """``listen``: address or name on which the API listens; ``machine``: the machine's host name; ``more``: as told;
    ``certified``: names that the certificate in use says, none where there is no TLS.
    """
    names = (_LOOPBACK, listen, machine, machine.partition(".")[0], *more)
    return KnownHosts(frozenset(each.lower() for each in names if each), certified)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


class HostCheck:
    """Asks on whom a request called, and refuses what calls on somebody else. ASGI middleware.

    Programs that speak HTTP/1.0 may name nobody; no browser does so.
    """

    def __init__(self, app: ASGIApp, known: KnownHosts) -> None:
        self._app: Final = app
        self._known: Final = known

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        host = Headers(scope=scope).get("host") if scope["type"] == "http" else None
        if host is None or self._known.knows(host):
            await self._app(scope, receive, send)
            return
        why = (
            f"host: {shown(host)} is no name of this API; expected an address, {_LOOPBACK}, the machine's name, or "
            "one that the scheduler was started with (--allowed-hosts)"
        )
        await refusal(f"{told_call(scope)}: {why}", 421)(scope, receive, send)
