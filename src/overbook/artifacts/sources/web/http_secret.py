"""What a secret of type ``http`` makes requests say about who asks. Pure.

Its parameters are those of rclone's remote of that type (``url``, ``headers``), and besides ``user`` with ``pass``, in
plain, or ``token``. Values are in no message.
"""

from __future__ import annotations

import base64
import csv
import re
from collections.abc import Mapping
from typing import Final

from yarl import URL

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.secrets.remote import RemoteSecret
from overbook.artifacts.sources.web.connect.addresses import checked, same_origin, shown
from overbook.manifests.problems import shown as quoted

TYPE: Final = "http"
_USED: Final = frozenset({"url", "headers", "user", "pass", "token"})
# Of rclone's, without a meaning here.
_IGNORED: Final = frozenset({"description", "no_escape", "no_head", "no_slash"})
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\U0010ffff]*")


def http_headers(secret: RemoteSecret | None, url: URL) -> Mapping[str, str]:
    """The headers for the server of ``url``. Raises SourceError, BAD_SECRET."""
    if secret is None:
        return {}
    if secret.type != TYPE:
        raise bad(
            secret, f"type {quoted(secret.type)} does not fit an address of http; expected {TYPE}"
        )
    given = {name: value for name, value in secret.parameters.items() if value}
    if unknown := sorted(set(given) - _USED - _IGNORED):
        raise bad(
            secret,
            f"no parameter {quoted(unknown[0])} is known; expected some of {', '.join(sorted(_USED))}",
        )
    if "url" in given:
        _look_at_server(secret, given["url"], url)
    headers = _named(secret, given.get("headers", ""))
    if (authorization := _authorization(secret, given)) is not None:
        if any(name.lower() == "authorization" for name in headers):
            raise bad(secret, "headers has Authorization already; leave user, pass and token out")
        headers["Authorization"] = authorization
    return headers


def basic(user: str, password: str) -> str:
    """The value of Authorization for a user with a password."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def bearer(secret: RemoteSecret, token: str) -> str:
    """The value of Authorization for a token. Raises SourceError, BAD_SECRET."""
    if not _VALUE.fullmatch(token.strip()):
        raise bad(secret, "token has a line break or a control character in it")
    return f"Bearer {token.strip()}"


def bad(secret: RemoteSecret, what: str) -> SourceError:
    """The error that names the secret."""
    return SourceError(Trouble.BAD_SECRET, f"secret {secret.secret}: {what}")


def _authorization(secret: RemoteSecret, given: Mapping[str, str]) -> str | None:
    if "token" in given:
        if "user" in given or "pass" in given:
            raise bad(secret, "it has both token and user or pass; expected one of them")
        return bearer(secret, given["token"])
    if "user" not in given and "pass" not in given:
        return None
    return basic(given.get("user", ""), given.get("pass", ""))


def _look_at_server(secret: RemoteSecret, address: str, url: URL) -> None:
    """A secret that says which server it is for is told to no other."""
    try:
        its = checked(address)
    except SourceError:
        raise bad(secret, "url is no address; expected http(s)://HOST[:PORT]/") from None
    if not same_origin(its, url):
        raise bad(secret, f"it is for {shown(its.origin())}, not for {shown(url.origin())}")


def _named(secret: RemoteSecret, text: str) -> dict[str, str]:
    """``text``: Name,value,Name,value as CSV."""
    try:
        cells = next(csv.reader([text], strict=True), [])
    except csv.Error:
        cells = [""]
    if len(cells) % 2 != 0:
        raise bad(secret, "headers cannot be read; expected Name,value,Name,value")
    headers = {}
    for name, value in zip(cells[::2], cells[1::2], strict=True):
        name = name.strip()
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise bad(secret, "headers has a name or a value that HTTP does not allow in a header")
        headers[name] = value.strip()
    return headers
