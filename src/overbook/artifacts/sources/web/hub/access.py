"""With whose rights the hub is asked, and which hub. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.secrets.remote import RemoteSecret
from overbook.artifacts.sources.web.hub.address import HubAddress
from overbook.manifests.problems import shown

TYPE: Final = "hf"
# Names of parameters that a message has.
_TOLD: Final = 5


@dataclass(frozen=True, slots=True)
class Access:
    """``token``: "" for what the environment or this user's login says. ``endpoint``: the hub's address, "" for that in
    the environment, or else the public one. ``secret``: what people call where they come from, "" for none.
    """

    token: str = field(default="", repr=False)
    endpoint: str = ""
    secret: str = ""


def access_by(address: HubAddress, secret: RemoteSecret | None) -> Access:
    """Raises SourceError, BAD_SECRET, with what is wrong in the secret."""
    if secret is None:
        return Access()
    if secret.type != TYPE:
        raise _bad(address, secret, f"has type {shown(secret.type)}; expected {TYPE}, with a token")
    token = secret.parameters.get("token", "").strip()
    if not token:
        there = ", ".join(shown(each) for each in sorted(secret.parameters)[:_TOLD]) or "none"
        raise _bad(
            address,
            secret,
            f"has no parameter token (those that it has: {there}); expected parameters: {{token: hf_...}}",
        )
    if not token.isascii() or not token.isprintable() or " " in token:
        raise _bad(address, secret, "has a token with blanks or letters that no token has")
    endpoint = secret.parameters.get("endpoint", "").strip().rstrip("/")
    parts = urlsplit(endpoint)
    if endpoint and (parts.scheme not in ("http", "https") or not parts.hostname or parts.username):
        raise _bad(address, secret, "has an endpoint that is none; expected https://HOST")
    return Access(token, endpoint, secret.secret)


def _bad(address: HubAddress, secret: RemoteSecret, what: str) -> SourceError:
    return SourceError(Trouble.BAD_SECRET, f"{address}: secret {shown(secret.secret)} {what}")
