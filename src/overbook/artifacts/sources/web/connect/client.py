"""Sends one request and follows where it leads: at most five redirects, never nearer to this machine.

The rule of zones is looked at where a connection is made, with the very addresses that are connected to, so a name
that resolves differently the second time gains nothing. Connections are kept apart by what they were allowed, as one
that was made for an address of a user's must not be reused for a redirect from elsewhere.

Proxies are chosen here by the environment (HTTP_PROXY, HTTPS_PROXY, NO_PROXY) instead of by aiohttp, which would read
passwords from ~/.netrc as well. A proxy resolves names itself: what it connects to is its rule, beyond what can be
seen from here.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, cast

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.sources.web.connect.addresses import led_to, same_origin, shown
from overbook.artifacts.sources.web.connect.masking import Mask
from overbook.artifacts.sources.web.connect.troubles import of_exception
from overbook.artifacts.sources.web.connect.zones import Zone, is_metadata, zone_of
from overbook.manifests.problems import shown as quoted

_REDIRECTS: Final = 5
_REDIRECT_STATUS: Final = frozenset({301, 302, 303, 307, 308})
_CONNECT: Final = 30.0  # seconds
_READ_BUFFER: Final = 512 * 1024  # bytes; twice as many may wait for us on each connection
_CONNECTIONS: Final = 64
_AGENT: Final = "overbook"
_KEPT: Final = ("etag", "last-modified")
_FAILURES: Final = (aiohttp.ClientError, OSError, asyncio.TimeoutError)


@dataclass(frozen=True, slots=True)
class Network:
    """What the network around this machine is like. ``resolver``: makes what resolves names; called in the event loop.
    ``zone_of``: how near an IP address is.
    """

    resolver: Callable[[], AbstractResolver] = aiohttp.ThreadedResolver
    zone_of: Callable[[str], Zone] = zone_of


@dataclass(frozen=True, slots=True)
class Request:
    """``private``: headers for the server of ``url`` alone. ``headers``: for whoever answers in the end. ``least``: how
    near ``url`` may be: as near as it likes where a person wrote it, and as `Reply.least` says where a server did.
    """

    url: URL = field(repr=False)
    method: str = "GET"
    private: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    follow: bool = True
    least: Zone = Zone.LOOPBACK


@dataclass(frozen=True, slots=True)
class Reply:
    """``response``: its body is not read yet. ``left``: whether it is of another server, which was not told the
    private headers. ``least``: how near addresses may lead that are named in it. ``mask``: for what is in it.
    ``headers``: names in lower case; those that tell versions apart are kept, and are masked.
    """

    response: aiohttp.ClientResponse = field(repr=False)
    url: URL = field(repr=False)
    left: bool
    least: Zone
    mask: Mask = field(repr=False)

    @property
    def headers(self) -> dict[str, str]:
        told = {name.lower(): value for name, value in self.response.headers.items()}
        return told | {name: self.mask.value(told[name]) for name in _KEPT if name in told}

    async def read(self) -> bytes:
        """The bytes that came next, b"" after the last. Raises SourceError; what came before and was not read yet, at
        most twice the buffer, is lost with it.
        """
        try:
            return await self.response.content.readany()
        except _FAILURES as error:
            raise of_exception(self.url, error) from error


class Client:
    """``silence``: seconds without a byte after which a connection is cut. For one event loop."""

    def __init__(self, network: Network, silence: float) -> None:
        self._network = network
        self._silence = silence
        self._sessions: dict[tuple[Zone, bool], aiohttp.ClientSession] = {}
        self._tls: ssl.SSLContext | None = None

    @asynccontextmanager
    async def send(self, request: Request) -> AsyncIterator[Reply]:
        """What was answered in the end, whatever its status. Raises SourceError.

        In no SourceError, nor in one that the caller's block raises, is what only the server was to be told.
        """
        mask = Mask(request.private)
        try:
            async with self._followed(request, mask) as reply:
                yield reply
        except SourceError as error:
            if (masked := mask.error(error)) is error:
                raise
            raise masked from None

    @asynccontextmanager
    async def _followed(self, request: Request, mask: Mask) -> AsyncIterator[Reply]:
        url, least = request.url, request.least
        for _ in range(_REDIRECTS + 1):
            response = await self._hop(request, url, least)
            try:
                least = await self._zone_after(response, url, least)
                location = response.headers.get("Location")
                if (
                    not request.follow
                    or response.status not in _REDIRECT_STATUS
                    or location is None
                ):
                    yield Reply(response, url, not same_origin(url, request.url), least, mask)
                    return
            finally:
                # Closes the connection where there is more to come.
                response.release()
            url = led_to(url, location)
        raise SourceError(
            Trouble.REFUSED, f"{shown(request.url)} redirects more than {_REDIRECTS} times: refused"
        )

    async def close(self) -> None:
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()

    async def _hop(self, request: Request, url: URL, least: Zone) -> _Response:
        proxy = _proxy_of(url)
        await self._check(url, least, proxied=proxy is not None)
        headers = {"User-Agent": _AGENT, "Accept-Encoding": "identity", **request.headers}
        if same_origin(url, request.url):
            headers |= request.private
        session = await self._session(least, proxied=proxy is not None)
        try:
            # Whoever sends one interim answer after the other is never silent.
            async with asyncio.timeout(_CONNECT + self._silence):
                response = await session.request(
                    request.method, url, headers=headers, allow_redirects=False, proxy=proxy
                )
        except (*_FAILURES, ValueError) as error:
            raise of_exception(url, error) from error
        return cast(_Response, response)

    async def _check(self, url: URL, least: Zone, *, proxied: bool) -> None:
        """What can be told before anybody connects. Raises SourceError, REFUSED."""
        host = url.host or ""
        if is_metadata(host):
            raise _too_near(host, Zone.NEVER)
        zone = _literal(host, self._network.zone_of)
        if zone is None and proxied:
            zone = await self._resolved(host, url.port or 0)
        if zone is not None and zone < least:
            raise _too_near(host, zone)

    async def _zone_after(self, response: _Response, url: URL, least: Zone) -> Zone:
        """How near this answer may lead: by a redirect, or by an address in it."""
        if _proxy_of(url) is None:
            return max(least, self._network.zone_of(response.peer))
        host = url.host or ""
        zone = _literal(host, self._network.zone_of)
        if zone is None:
            zone = await self._resolved(host, url.port or 0)
        return max(least, Zone.PUBLIC if zone is None else zone)

    async def _resolved(self, host: str, port: int) -> Zone | None:
        """The nearest of its addresses, as far as this machine knows the name; None where only a proxy does."""
        resolver = self._network.resolver()
        try:
            found = await resolver.resolve(host, port, socket.AF_UNSPEC)
        except OSError:
            return None
        finally:
            await resolver.close()
        return min((self._network.zone_of(each["host"]) for each in found), default=None)

    async def _session(self, least: Zone, *, proxied: bool) -> aiohttp.ClientSession:
        if self._tls is None:
            # Reads all certificates that the machine trusts: some tens of milliseconds.
            self._tls = await asyncio.to_thread(ssl.create_default_context)
        if (found := self._sessions.get((least, proxied))) is not None:
            return found
        # The proxy itself may be as near as it likes.
        resolver = _Guard(self._network, Zone.LOOPBACK if proxied else least)
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=resolver, ssl=self._tls, limit=_CONNECTIONS, ttl_dns_cache=10
            ),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=min(_CONNECT, self._silence), sock_read=self._silence
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            read_bufsize=_READ_BUFFER,
            response_class=_Response,
        )
        self._sessions[least, proxied] = session
        return session


class _Response(aiohttp.ClientResponse):
    """One that keeps whom it is from: the connection may be gone when that is asked."""

    peer = ""

    async def start(self, connection: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        transport = connection.transport
        peer = None if transport is None else transport.get_extra_info("peername")
        if peer is None:
            raise aiohttp.ServerDisconnectedError
        self.peer = peer[0]
        return await super().start(connection)


class _Guard(AbstractResolver):
    """Resolves names, and refuses those that lead nearer than ``least``."""

    def __init__(self, network: Network, least: Zone) -> None:
        self._zone_of = network.zone_of
        self._least = least
        self._inner = network.resolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises SourceError, REFUSED, and OSError where there is no such name."""
        found = await self._inner.resolve(host, port, family)
        zone = min((self._zone_of(each["host"]) for each in found), default=Zone.PUBLIC)
        if zone < self._least:
            raise _too_near(host, zone)
        return found

    async def close(self) -> None:
        await self._inner.close()


def _literal(host: str, zone_of: Callable[[str], Zone]) -> Zone | None:
    """None for a name."""
    try:
        return zone_of(host)
    except ValueError:
        return None


def _too_near(host: str, zone: Zone) -> SourceError:
    if zone is Zone.NEVER:
        why = "it is link-local or a cloud's metadata server, from which no artifact may come"
    else:
        why = "a server farther away leads there, which could be used to reach into this network"
    return SourceError(Trouble.REFUSED, f"{host}: refused, as {why}")


def _proxy_of(url: URL) -> str | None:
    """What the environment says about proxies for this address."""
    proxy = urllib.request.getproxies().get(url.scheme)
    if not proxy or urllib.request.proxy_bypass(f"{url.host}:{url.port}"):
        return None
    scheme, separator, _ = proxy.partition("://")
    if not separator:
        return f"http://{proxy}"
    if scheme not in ("http", "https"):
        raise SourceError(
            Trouble.UNREACHABLE,
            f"{shown(url)}: {url.scheme}_proxy in the environment names a {quoted(scheme)} proxy; expected http",
        )
    return proxy
