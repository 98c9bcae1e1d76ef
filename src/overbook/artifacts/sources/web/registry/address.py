"""What an address of a registry says. Pure."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final, TypeGuard

from overbook.artifacts.errors import SourceError, Trouble
from overbook.manifests.problems import shown

SCHEME: Final = "oci://"
LATEST: Final = "latest"
DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_EXPECTED: Final = "expected oci://HOST[:PORT]/REPOSITORY[:TAG|@sha256:DIGEST]"
_HOST: Final = re.compile(
    r"([A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?"
)
_PART: Final = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY: Final = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_LONGEST: Final = 255
_MOST_PORT: Final = 65535
# Docker's own registry is asked under another name than people write.
_DOCKER: Final = ("docker.io", "index.docker.io")
_DOCKER_ASKED: Final = "registry-1.docker.io"


@dataclass(frozen=True, slots=True)
class RegistryAddress:
    """``host``: with its port, where it names one. ``digest``: "" where a tag says which manifest is meant."""

    host: str
    repository: str
    tag: str = LATEST
    digest: str = ""

    @property
    def reference(self) -> str:
        """By what the registry finds the manifest."""
        return self.digest or self.tag

    @property
    def asked(self) -> str:
        """The host that answers for it."""
        return _DOCKER_ASKED if self.host in _DOCKER else self.host

    @property
    def loopback(self) -> bool:
        """Whether it is on this machine, so that nobody can listen on the way."""
        name = self.host.rpartition("]")[0][1:] or self.host.partition(":")[0]
        if name == "localhost" or name.endswith(".localhost"):
            return True
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        mark = f"@{self.digest}" if self.digest else f":{self.tag}"
        return f"{SCHEME}{self.host}/{self.repository}{mark}"


def parse(storage_uri: str) -> RegistryAddress:
    """Raises SourceError, BAD_ADDRESS, with what is wrong in it. Where it has a tag and a digest, the digest counts."""
    host, _, rest = storage_uri.removeprefix(SCHEME).rstrip("/").partition("/")
    if "@" in host:
        # What stands before an @ may be a password: it is not repeated.
        raise _bad(
            f"{SCHEME}...@{host.rpartition('@')[2]}/{rest}",
            "a user or a password stands in the address, and belongs into a secret",
        )
    _check_host(storage_uri, host)
    rest, at, digest = rest.partition("@")
    repository, colon, tag = rest.partition(":")
    if len(repository) > _LONGEST or not _REPOSITORY.fullmatch(repository):
        raise _bad(
            storage_uri,
            f"the repository {shown(repository)} is none that a registry has (lower case letters, digits, . _ - and /)",
        )
    if colon and not _TAG.fullmatch(tag):
        raise _bad(storage_uri, f"the tag {shown(tag)} is none that a registry has")
    if at and not DIGEST.fullmatch(digest):
        raise _bad(storage_uri, f"the digest {shown(digest)} is no sha256: with 64 hex digits")
    if host in _DOCKER and "/" not in repository:
        repository = f"library/{repository}"
    return RegistryAddress(host, repository, tag or LATEST, digest)


def is_tag(text: object) -> TypeGuard[str]:
    """Whether a registry can have a tag of that name."""
    return isinstance(text, str) and _TAG.fullmatch(text) is not None


def _check_host(storage_uri: str, host: str) -> None:
    found = _HOST.fullmatch(host)
    port = found.group(2) if found else None
    if found is None or ".." in host or (port is not None and not 0 < int(port) <= _MOST_PORT):
        raise _bad(storage_uri, f"the host {shown(host)} is none")
    if port is None and "." not in host and not host.startswith("[") and host != "localhost":
        raise _bad(
            storage_uri,
            f"{shown(host)} is no host of a registry; for Docker's own write oci://docker.io/...",
        )


def _bad(storage_uri: str, why: str) -> SourceError:
    return SourceError(Trouble.BAD_ADDRESS, f"{shown(storage_uri)}: {why}; {_EXPECTED}")
