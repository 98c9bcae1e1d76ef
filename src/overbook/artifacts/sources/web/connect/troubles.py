"""What failures of HTTP mean, in one line each: a status, a certificate, a connection. Pure.

No message holds a header's value, or what stands behind `?` in an address.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from typing import Final

import aiohttp
from yarl import URL

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.sources.web.connect.addresses import shown

# OpenSSL's numbers of what is wrong with a certificate (X509_V_ERR_*).
_NOT_YET_VALID: Final = 9
_EXPIRED: Final = 10
_OTHER_HOST: Final = frozenset({62, 64})
_UNKNOWN_ISSUER: Final = frozenset({18, 19, 20, 21})

_TRUST_IT: Final = "name a file with its certificate, or its authority's, in SSL_CERT_FILE"


def of_status(
    url: URL, status: int, secret: str, *, left: bool, retry_after: float | None = None
) -> SourceError:
    """``secret``: whose headers were sent, "" for none. ``left``: whether a redirect led to another server, which was
    not told the secret. ``retry_after``: seconds that the server named.
    """
    where = shown(url)
    if status in (401, 403, 407):
        return SourceError(
            Trouble.NOT_ALLOWED, f"{where}: not allowed ({status}); {_whose(secret, left)}"
        )
    if status in (404, 410):
        return SourceError(Trouble.NOT_FOUND, f"{where}: not found ({status})")
    if status == 429 or retry_after is not None:
        when = "" if retry_after is None else f", in {retry_after:.0f} s"
        return SourceError(
            Trouble.BUSY,
            f"{where}: the server asks to come later ({status}{when})",
            retry_after=retry_after,
        )
    if status >= 500 or status == 408:
        return SourceError(Trouble.UNREACHABLE, f"{where}: the server failed ({status})")
    return SourceError(
        Trouble.REFUSED, f"{where}: the server answered {status}, which was not expected"
    )


def of_exception(url: URL, error: Exception) -> SourceError:
    """``error``: an aiohttp.ClientError, OSError, TimeoutError or ValueError that a request ended with."""
    where = shown(url)
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return SourceError(Trouble.NOT_TRUSTED, f"{where}: {_certificate(error.certificate_error)}")
    if isinstance(error, ValueError):
        return SourceError(Trouble.BAD_ADDRESS, f"{where} is no address that can be asked")
    return SourceError(Trouble.UNREACHABLE, f"{where}: {_connection(error)}")


def _whose(secret: str, left: bool) -> str:
    if not secret:
        return "no secret was given: name one in secretName"
    if left:
        return f"secret {secret} was not sent there, since the address redirects to another server"
    return f"secret {secret} does not suffice"


def _certificate(error: Exception) -> str:
    code = getattr(error, "verify_code", None)
    said = getattr(error, "verify_message", None) or "it does not verify"
    if code == _EXPIRED:
        return "the server's certificate has expired, or the clock of this machine is wrong; have it renewed"
    if code == _NOT_YET_VALID:
        return "the server's certificate is not valid yet; look at the clocks of both machines"
    if code in _OTHER_HOST:
        return "the server's certificate is for another host name; ask it by the name that its certificate has"
    if code in _UNKNOWN_ISSUER:
        return f"the server's certificate is not signed by anybody who is trusted here ({said}); {_TRUST_IT}"
    return f"the server's certificate is not trusted ({said}); {_TRUST_IT}"


def _connection(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return "the proxy that the environment names cannot be reached; look at HTTPS_PROXY and HTTP_PROXY"
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return f"the proxy that the environment names refused ({error.status})"
    if isinstance(error, aiohttp.ClientConnectorDNSError) or isinstance(
        getattr(error, "os_error", error), socket.gaierror
    ):
        return "no such host is known"
    if isinstance(error, aiohttp.ClientSSLError):
        return f"no TLS connection ({_reason(error.os_error)})"
    if isinstance(error, aiohttp.SocketTimeoutError):
        return "the server sent nothing for too long"
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return "no connection in time"
    if isinstance(error, asyncio.TimeoutError):
        return "no answer in time"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection ({_reason(error.os_error)})"
    if isinstance(error, (aiohttp.ServerDisconnectedError, ConnectionError)):
        return "the connection broke before the answer"
    if isinstance(error, aiohttp.ClientPayloadError):
        return "the connection broke before all bytes were here"
    if isinstance(error, aiohttp.ClientResponseError):
        return "what the server answered is no HTTP"
    return f"the connection failed ({type(error).__name__})"


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return (getattr(error, "reason", None) or "it failed").lower().replace("_", " ")
    if error.errno is not None:
        return os.strerror(error.errno).lower()
    return type(error).__name__
