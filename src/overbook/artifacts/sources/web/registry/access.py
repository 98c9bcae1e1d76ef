"""With whose rights a registry is asked, and how. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.secrets.remote import RemoteSecret
from overbook.artifacts.sources.web.registry.address import RegistryAddress
from overbook.manifests.problems import shown

TYPE: Final = "oci"
_BOOLEANS: Final = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Access:
    """``username`` and ``password``, or ``token``, or none of them: then what Docker's configuration of this user has.
    ``secret``: what people call where they come from, "" for none. ``plain``: HTTP without TLS.
    """

    username: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    secret: str = ""
    plain: bool = False

    @property
    def scheme(self) -> str:
        return "http" if self.plain else "https"


def access_by(address: RegistryAddress, secret: RemoteSecret | None) -> Access:
    """Without TLS it goes to this machine alone, or where the secret says `insecure`.

    Raises SourceError, BAD_SECRET, with what is wrong in the secret.
    """
    if secret is None:
        return Access(plain=address.loopback)
    if secret.type != TYPE:
        expected = f"{TYPE}, with username and password, or with a token"
        raise _bad(address, secret, f"has type {shown(secret.type)}; expected {expected}")
    given = secret.parameters
    insecure = given.get("insecure", "").strip().lower()
    if insecure and insecure not in _BOOLEANS:
        raise _bad(address, secret, "has an insecure that is neither true nor false")
    username, password, token = (
        given.get(key, "").strip() for key in ("username", "password", "token")
    )
    if bool(username) != bool(password):
        missing = "password" if username else "username"
        raise _bad(address, secret, f"has no {missing}; expected username and password")
    if token and username:
        raise _bad(address, secret, "has a token and a username; expected one of the two")
    if not token and not username and not insecure:
        raise _bad(address, secret, "has neither username and password nor a token")
    plain = _BOOLEANS[insecure] if insecure else address.loopback
    return Access(username, password, token, secret.secret, plain)


def _bad(address: RegistryAddress, secret: RemoteSecret, what: str) -> SourceError:
    return SourceError(Trouble.BAD_SECRET, f"{address}: secret {shown(secret.secret)} {what}")
