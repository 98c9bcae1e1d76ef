"""JSON over HTTP/1.1 on one kept connection, with Python's own http.client.

Not aiohttp, which the project has anyway: importing it takes 0.14 s here, http.client 0.02 s, and every
command of the command line pays that before it does anything (`get models` has 0.5 s in all).
Knows nothing of Overbook's API.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from overbook.client import tls_faults
from overbook.client.addresses import address
from overbook.client.errors import ClientError, NotRunning, TimedOut, TlsFailed
from overbook.client.trust import trust

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
JsonObject: TypeAlias = dict[str, Json]


@dataclass(frozen=True, slots=True)
class Reply:
    """Status and body. `text` is for bodies that are no JSON."""

    status: int
    body: bytes

    def json(self) -> Json:
        """Raises ValueError when the body is no JSON."""
        value: Json = json.loads(self.body) if self.body else None
        return value

    def said(self) -> str:
        """The `error` of a JSON body, else the beginning of the body, in one line."""
        try:
            value = self.json()
        except ValueError:
            value = None
        if isinstance(value, dict) and isinstance(value.get("error"), str):
            return " ".join(str(value["error"]).split())
        text = " ".join(self.body[:300].decode("utf-8", "replace").split())
        return text or "an empty answer"


class Endpoint:
    """One base URL. Not for several threads at once; `close` when done, or use it in a `with`."""

    def __init__(
        self,
        url: str,
        *,
        setting: str,
        headers: Mapping[str, str] | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        """`setting` is how a user names another URL, for the message when nobody answers. `headers`: of all calls.

        `context`: for https; None for what `trust` says. Raises BadUrl, BadTrust.
        """
        self._headers = dict(headers or {})
        self._address = where = address(url)
        self.url = where.url
        self._setting = setting
        self._context = None
        self._connection = http.client.HTTPConnection(where.host, where.port)
        if where.tls:
            self._context = context or trust().context()
            self._connection = http.client.HTTPSConnection(
                where.host, where.port, context=self._context
            )
        self._used = False

    def __enter__(self) -> Endpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()
        self._used = False

    def call(
        self,
        method: str,
        path: str,
        body: Json = None,
        *,
        timeout: float,
        has_body: bool = False,
        more: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request, with `more` headers. Raises NotRunning when nobody listens, TimedOut after `timeout` seconds."""
        payload = None
        headers = {"Accept": "application/json", **self._headers}
        if body is not None or has_body:
            payload = json.dumps(body, separators=(",", ":")).encode()
            headers["Content-Type"] = "application/json"
        for name, value in (more or {}).items():
            headers = {each: headers[each] for each in headers if each.lower() != name.lower()}
            headers[name] = value
        self._connection.timeout = timeout
        if self._connection.sock is not None:
            self._connection.sock.settimeout(timeout)
        reused = self._used and self._connection.sock is not None
        try:
            return self._exchange(method, path, payload, headers)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            # The other side closed the kept connection between two calls; a fresh one tells.
            if not reused:
                raise self._gone() from None
        try:
            return self._exchange(method, path, payload, headers)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            raise self._gone() from None

    def _gone(self) -> ClientError:
        if why := self._tls_trouble():
            return TlsFailed(why)
        return ClientError(f"{self.url} closed the connection without an answer; look at its log")

    def _exchange(
        self, method: str, path: str, payload: bytes | None, headers: dict[str, str]
    ) -> Reply:
        connection = self._connection
        try:
            connection.request(method, self._address.prefix + path, body=payload, headers=headers)
            response = connection.getresponse()
            reply = Reply(response.status, response.read())
        except TimeoutError:
            self.close()
            raise TimedOut(
                f"no answer from {self.url} within {connection.timeout:g} s; try again, or ask for longer"
            ) from None
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            self.close()
            raise
        except ssl.SSLError as error:
            self.close()
            raise TlsFailed(self._refused(error)) from None
        except http.client.HTTPException as error:
            self.close()
            if why := self._tls_trouble():
                raise TlsFailed(why) from None
            raise ClientError(f"{self.url} does not speak HTTP ({type(error).__name__})") from None
        except OSError as error:
            self.close()
            raise NotRunning(self.url, self._setting) from error
        self._used = True
        return reply

    def _refused(self, error: ssl.SSLError) -> str:
        if isinstance(error, ssl.SSLCertVerificationError):
            return tls_faults.told(error, self.url, self._address.host)
        # What broke while a request was sent may hide the server's word.
        return self._tls_trouble() or tls_faults.told(error, self.url, self._address.host)

    def _tls_trouble(self) -> str:
        """What a second look finds when a connection ended without a word; "" for nothing."""
        return tls_faults.trouble(self._address, self._context, self._setting)
