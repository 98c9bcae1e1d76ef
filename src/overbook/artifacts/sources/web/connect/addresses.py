"""Addresses of HTTP: which are well formed, how they are shown, and where a redirect leads. Pure.

What stands behind `?` in an address is shown to nobody: presigned addresses have their credentials there.
"""

from __future__ import annotations

import re
from typing import Final

from yarl import URL

from overbook.artifacts.errors import SourceError, Trouble
from overbook.manifests.problems import shown as quoted

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
# What a request line may hold as it is. A signed address must not be written in another way.
_EXACT: Final = re.compile(r"[!-~]+")
_HOST: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")
_NUMBER: Final = re.compile(r"\d+|0[xX][0-9a-fA-F]*")
_DECIMAL: Final = re.compile(r"0|[1-9]\d{0,2}")
_ABSOLUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


def checked(address: str) -> URL:
    """Raises SourceError, BAD_ADDRESS."""
    try:
        url = _exact(address)
    except ValueError:
        url = URL()
    if url.scheme not in _DEFAULT_PORTS or not url.host:
        raise _bad(f"{quoted(_bare(address))} is no address; expected http(s)://HOST[:PORT]/PATH")
    if url.user is not None or url.password is not None:
        raise _bad(
            f"{shown(url)}: user and password do not belong into an address; put them into a secret, and name it in "
            "secretName"
        )
    if not _is_proper(url):
        raise _bad(
            f"{shown(url)}: {quoted(url.host)} is no host name, and no address such as 192.0.2.1"
        )
    return url


def shown(url: URL) -> str:
    """For messages: without query, fragment, user and password."""
    port = "" if url.explicit_port in (None, _DEFAULT_PORTS.get(url.scheme)) else f":{url.port}"
    host = f"[{url.host}]" if url.host is not None and ":" in url.host else (url.host or "")
    return f"{url.scheme}://{host}{port}{url.raw_path}"


def led_to(url: URL, location: str) -> URL:
    """Where a redirect with this Location leads. Raises SourceError, REFUSED."""
    try:
        target = _exact(location) if _ABSOLUTE.match(location) else url.join(_exact(location))
    except ValueError:
        raise _refused(url, "an address that is none") from None
    if target.scheme not in _DEFAULT_PORTS:
        raise _refused(url, f"a {quoted(target.scheme)} address; only http and https are followed")
    if url.scheme == "https" and target.scheme == "http":
        raise _refused(url, f"{shown(target)}, which is not encrypted any more")
    if not _is_proper(target):
        raise _refused(url, "an address without a proper host")
    # Nobody but our own secrets may say who we are.
    return target.with_user(None).with_fragment(None) if target.user else target


def same_origin(one: URL, other: URL) -> bool:
    """Whether both are of one server, so that what is told to one may be told to the other."""
    return (one.scheme, one.host, one.port) == (other.scheme, other.host, other.port)


def _exact(address: str) -> URL:
    """Raises ValueError."""
    url = URL(address, encoded=_EXACT.fullmatch(address) is not None)
    _ = url.port  # some versions look at it only when asked
    return url


def _bare(address: str) -> str:
    """What may be shown of an address that cannot be read."""
    return re.sub(r"//[^/]*@", "//", re.split(r"[?#]", address, maxsplit=1)[0])


def _is_proper(url: URL) -> bool:
    """Whether the host is a name or a number that all programs read in the same way.

    Some take 2130706433, 127.1 and 0x7f.0.0.1 for 127.0.0.1; what two programs read differently cannot be judged.
    """
    host = url.raw_host or ""
    if ":" in host:
        return True  # yarl has seen that it is an IPv6 address
    if not _HOST.fullmatch(host):
        return False
    parts = host.split(".")
    if not _NUMBER.fullmatch(parts[-1] or parts[-2]):
        return True
    return len(parts) == 4 and all(
        _DECIMAL.fullmatch(part) is not None and int(part) < 256 for part in parts
    )


def _bad(message: str) -> SourceError:
    return SourceError(Trouble.BAD_ADDRESS, message)


def _refused(url: URL, where: str) -> SourceError:
    return SourceError(Trouble.REFUSED, f"{shown(url)} redirects to {where}: refused")
