"""Where a running Overbook is found by default, how users name another, and what that says. Connects to nobody."""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import urlsplit

from overbook.client.errors import BadUrl

DEFAULT_API_URL: Final = "http://127.0.0.1:9001"
DEFAULT_URL: Final = "http://127.0.0.1:9000"
API_URL_SETTING: Final = "--api-url or OVERBOOK_API_URL"
URL_SETTING: Final = "--url or OVERBOOK_URL"

_PORTS: Final = {"http": 80, "https": 443}
_EXPECTED: Final = "expected http://HOST:PORT or https://HOST:PORT"


class Address(NamedTuple):
    """What a URL says. ``prefix``: of all paths there, without a slash at its end; ``tls``: whether it is https."""

    url: str
    host: str
    port: int
    prefix: str
    tls: bool

    @property
    def target(self) -> str:
        """Host and port, as gRPC wants them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def address(url: str) -> Address:
    """Reads a URL; one without a scheme is http. Raises BadUrl."""
    whole = url if "://" in url else f"http://{url}"
    try:
        parts = urlsplit(whole)
        port = parts.port
    except ValueError as error:
        raise BadUrl(f"{url!r} is not a URL ({error}); {_EXPECTED}") from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise BadUrl(f"{url!r} is not an HTTP URL; {_EXPECTED}, for gRPC too")
    return Address(
        whole.rstrip("/"),
        parts.hostname,
        _PORTS[parts.scheme] if port is None else port,
        parts.path.rstrip("/"),
        parts.scheme == "https",
    )
