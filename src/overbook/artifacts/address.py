"""Where a storageUri leads: to a folder of this machine, or to a source elsewhere. Pure.

An address never holds a secret: who writes one into it is told to use `secretName`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from overbook.artifacts.errors import ArtifactError, SourceError, Trouble
from overbook.manifests.problems import shown
from overbook.manifests.specs import has_scheme

_FILE: Final = "file://"
# With a slash at the end they name the same; over HTTP that is a folder, and without it a file.
_STORES: Final = ("s3://", "gs://", "azureblob://", "az://", "sftp://")
_LOCAL_HOSTS: Final = ("", "localhost")
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.ASCII | re.DOTALL)
_WITH_SECRET: Final = re.compile(r"//[^/@]*:[^/@]*@")
_MOST: Final = 2048


@dataclass(frozen=True, slots=True)
class Asked:
    """One artifact that somebody wants. ``secret``: name of what its source wants to be told; "" for none.

    ``version``: of its folder for one version alone (`artifactVersion`); "" for everything. ``fingerprint``: which
    content of the address is meant, as it was when somebody looked; "" when nobody has.
    """

    storage_uri: str
    version: str = ""
    secret: str = ""
    fingerprint: str = ""

    @property
    def place(self) -> str:
        """The one text for what is asked for, whatever content it has."""
        return f"{self.storage_uri}#{self.version}" if self.version else self.storage_uri

    @property
    def source(self) -> tuple[str, str]:
        """Equal for all that comes from one host, bucket or remote by one secret, and for all of this machine."""
        found = source_of(self.storage_uri)
        return (found, self.secret) if found else ("", "")


def source_of(storage_uri: str) -> str:
    """The host, bucket or remote that serves it, as it stands in an address; "" for this machine."""
    if not is_remote(storage_uri):
        return ""
    scheme, _, rest = storage_uri.partition(":")
    host = rest.removeprefix("//").partition("/")[0] if rest.startswith("//") else ""
    return f"{scheme}://{host}" if host else f"{scheme}:"


def plain(storage_uri: str) -> str:
    """The one way to write an address: a path where it leads to this machine; no slash after a folder of a store."""
    if storage_uri.startswith(_STORES):
        return _without_last_slash(storage_uri)
    if not storage_uri.startswith(_FILE):
        return storage_uri
    host, slash, path = storage_uri.removeprefix(_FILE).partition("/")
    if host not in _LOCAL_HOSTS:
        return storage_uri
    return unquote(slash + path)


def _without_last_slash(storage_uri: str) -> str:
    scheme, separator, place = storage_uri.partition("://")
    # Of none but slashes it is told as it was written that it names no place.
    return f"{scheme}{separator}{place.rstrip('/') or place}"


def machine_of(storage_uri: str) -> str:
    """The machine that a file:// address names, "" where it names none."""
    if not storage_uri.startswith(_FILE):
        return ""
    host = storage_uri.removeprefix(_FILE).partition("/")[0]
    return "" if host in _LOCAL_HOSTS else host


def is_remote(storage_uri: str) -> bool:
    """Whether its files have to be fetched from elsewhere."""
    return has_scheme(storage_uri) and not storage_uri.startswith(_FILE)


def local_path(storage_uri: str, machine: str = "") -> str:
    """The absolute path that it names, on this ``machine``. Raises ArtifactError for what is not here."""
    named = machine_of(storage_uri)
    if named and machine and named != machine:
        raise ArtifactError(
            f"{shown(storage_uri)} is on machine {shown(named)}, and this is {shown(machine)}; expected a path of this "
            "machine, or an address that every machine can fetch from"
        )
    path = unquote(storage_uri.removeprefix(f"{_FILE}{named}")) if named else plain(storage_uri)
    if not path.startswith("/"):
        raise ArtifactError(
            f"{shown(storage_uri)}: a relative path means nothing to a server; expected an absolute one"
        )
    return path


def scheme_of(storage_uri: str) -> tuple[str, str]:
    """A remote address's scheme, or name of a remote, and all that follows its colon. Raises SourceError.

    What can be said of it without asking anybody is said here, so that an apply can.
    """
    found = _SCHEME.fullmatch(storage_uri)
    if found is None or not found[2].strip("/"):
        raise _bad(storage_uri, "names no place; expected such as s3://BUCKET/FOLDER")
    if len(storage_uri) > _MOST:
        raise _bad(storage_uri, f"is too long; expected at most {_MOST} characters")
    if _WITH_SECRET.match(found[2]):
        shown_without = _WITH_SECRET.sub("//…@", found[2], count=1)
        raise SourceError(
            Trouble.BAD_ADDRESS,
            f"{found[1]}:{shown_without} holds a password; expected an address without one, and a secretName",
        )
    return found[1], found[2]


def _bad(storage_uri: str, why: str) -> SourceError:
    return SourceError(Trouble.BAD_ADDRESS, f"{shown(storage_uri)} {why}")
