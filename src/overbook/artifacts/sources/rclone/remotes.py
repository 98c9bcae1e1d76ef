"""Which remote an address leads to, with whose identity, and the path behind it. Pure.

It is always the section `source`, so that whatever is in an address stays a path.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from overbook.artifacts.address import source_of
from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.secrets.remote import RemoteSecret
from overbook.artifacts.sources.rclone import hosts, identity, own_configuration
from overbook.artifacts.sources.rclone.addresses import Address, bad_address
from overbook.artifacts.sources.rclone.identity import Machine
from overbook.artifacts.sources.rclone.in_secrets import means_machine, refuse_local
from overbook.artifacts.sources.rclone.own_configuration import REFUSED, Configuration
from overbook.artifacts.sources.rclone.sections import Section, Unwritable, section, written
from overbook.manifests.problems import shown

GCS: Final = "google cloud storage"
# Types of rclone's that are meant by a scheme, the usual one first.
TYPES: Final = {
    "s3": ("s3",),
    "gs": (GCS, "gcs"),
    "azureblob": ("azureblob",),
    "az": ("azureblob",),
    "sftp": ("sftp",),
}
# What is fetched by others.
_OTHERS: Final = ("http", "https", "hf", "oci", "file")
_BUCKETS: Final = frozenset({"s3", GCS, "gcs", "azureblob", "b2", "swift", "oos", "qingstor"})
_OWN: Final = "this machine's own identity"


@dataclass(frozen=True, slots=True)
class Remote:
    """``path``: of the artifact, in the remote. ``who``: whose identity is used, in words.

    ``sections`` and ``environment`` are what rclone's process is given; they are in no text.
    """

    uri: str
    path: str
    kind: str
    who: str
    sections: tuple[Section, ...] = field(repr=False)
    environment: tuple[tuple[str, str], ...] = field(repr=False)

    @property
    def own_identity(self) -> bool:
        """Whether no secret and no configuration has anything to do with it."""
        return self.who == _OWN

    @property
    def plain(self) -> bool:
        """Whether bytes come over a network that nothing protects: without TLS, from another machine."""
        endpoint = urlsplit(self.parameters.get("endpoint", ""))
        host = endpoint.hostname or ""
        near = host == "localhost" or host.startswith("127.") or host == "::1"
        return endpoint.scheme == "http" and not near

    @property
    def buckets(self) -> bool:
        """Whether the first step of a path is a bucket or container."""
        return self.kind in _BUCKETS

    @property
    def configuration(self) -> bytes:
        return written(self.sections)

    @property
    def parameters(self) -> dict[str, str]:
        return dict(self.sections[0].parameters)

    @property
    def source(self) -> str:
        """The bucket, host or remote that serves it, and by whose identity, in words."""
        return f"{source_of(self.uri)} ({self.who})"

    @property
    def same_way(self) -> tuple[object, ...]:
        """Equal for those that one process may ask together."""
        return self.sections, self.environment


def remote_of(
    address: Address,
    secret: RemoteSecret | None,
    machine: Machine,
    configuration: Configuration,
) -> Remote:
    """Raises SourceError. ``configuration``: of the agent's user."""
    if secret is not None:
        sections = _by_secret(address, secret, machine)
        who = f"secret {shown(secret.secret)}"
    elif address.scheme in configuration:
        sections = _by_configuration(address, configuration, machine)
        who = f"remote {shown(address.scheme)} of {own_configuration.where(machine)}"
    else:
        sections = _by_machine(address, machine, configuration)
        who = _OWN
    given = dict(sections[0].parameters)
    kind = given["type"]
    path = _sftp_path(address, given) if kind == "sftp" else address.place.lstrip("/")
    if kind in _BUCKETS and not path:
        raise bad_address(address.uri, "it names no bucket; expected one, and a path in it")
    itself = secret is None or means_machine(given)
    environment = identity.environment_of_stranger(machine, itself=itself)
    if secret is not None:
        environment |= hosts.bounds(kind, given, environment, itself=itself)
    return Remote(address.uri, path, kind, who, sections, tuple(sorted(environment.items())))


def _by_secret(address: Address, secret: RemoteSecret, machine: Machine) -> tuple[Section, ...]:
    named = f"secret {shown(secret.secret)}"
    if secret.name != address.scheme and secret.type not in TYPES.get(address.scheme, ()):
        raise SourceError(
            Trouble.BAD_SECRET,
            f"{shown(address.uri)}: {named} has a remote {shown(secret.name)} of type {shown(secret.type)}; expected "
            f"one that is named {shown(address.scheme)}{_or_type(address.scheme)}",
        )
    if secret.type in REFUSED:
        raise SourceError(
            Trouble.BAD_SECRET,
            f"{shown(address.uri)}: {named} is a remote of type {shown(secret.type)}, which is not read from here; "
            "expected a store of its own, such as s3",
        )
    parameters = dict(secret.parameters)
    try:
        refuse_local(secret.type, parameters)
        hosts.refuse_metadata(parameters)
        if secret.type == "sftp" and not parameters.get("host_keys"):
            # A password is not for whoever answers; an empty value says that it is.
            parameters.setdefault("known_hosts_file", str(identity.known_hosts(machine)))
        return (_completed(section("source", secret.type, parameters), address),)
    except Unwritable as error:
        raise SourceError(Trouble.BAD_SECRET, f"{shown(address.uri)}: {named}: {error}") from None


def _by_configuration(
    address: Address, configuration: Configuration, machine: Machine
) -> tuple[Section, ...]:
    try:
        main, *others = own_configuration.sections_of(address.scheme, configuration)
        return (_completed(main, address), *others)
    except Unwritable as error:
        where = own_configuration.where(machine)
        raise SourceError(
            Trouble.BAD_SECRET,
            f"{shown(address.uri)}: remote {shown(address.scheme)} of {where}: {error}",
        ) from None


def _by_machine(address: Address, machine: Machine, known: Iterable[str]) -> tuple[Section, ...]:
    """``known``: names of remotes that there are."""
    kind = TYPES.get(address.scheme, ("",))[0]
    if kind == "s3":
        parameters = identity.s3(machine)
    elif kind == GCS:
        parameters = identity.gcs(machine)
    elif kind == "azureblob":
        parameters = identity.azureblob(machine, address.uri)
    elif kind == "sftp":
        parameters = identity.sftp(machine)
    else:
        raise _no_remote(address, own_configuration.where(machine), known)
    try:
        return (_completed(section("source", kind, parameters), address),)
    except Unwritable as error:
        raise bad_address(address.uri, f"this machine's own identity: {error}") from None


def _no_remote(address: Address, where: Path, known: Iterable[str]) -> SourceError:
    schemes = {each: f"{each}://" for each in (*TYPES, *_OTHERS)} | {
        each: f"{each}:" for each in known
    }
    # `s4` is as near to `s3` as two letters can be.
    near = difflib.get_close_matches(address.scheme.lower(), schemes, n=1, cutoff=0.5)
    meant = f" (did you mean {schemes[near[0]]}?)" if near else ""
    return bad_address(
        address.uri,
        f"no remote {shown(address.scheme)} is in {where}, and no secretName has one{meant}; "
        f"expected one of those, or {', '.join(f'{each}://' for each in TYPES)}",
    )


def _completed(main: Section, address: Address) -> Section:
    """With what rclone wants to be told besides."""
    given = dict(main.parameters)
    kind = given.pop("type")
    more: dict[str, str] = {}
    if kind == "s3":
        more = {"provider": "Other" if given.get("endpoint") else "AWS"}
    elif kind == "sftp":
        host, user, port = _authority(address) if address.scheme == "sftp" else ("", "", "")
        more = {"user": user, "ask_password": "false"}
        if not given.get("host"):
            more |= {"host": host, "port": port}
        # Without a shell there are no hashes: nothing runs on the server.
        given |= {"shell_type": "none", "disable_hashcheck": "true"}
    merged = {key: value for key, value in (more | given).items() if value}
    return section(main.name, kind, merged)


def _authority(address: Address) -> tuple[str, str, str]:
    """Host, user and port where a path of SFTP begins with them."""
    first = address.place.partition("/")[0]
    user, _, host = first.rpartition("@")
    name, colon, port = host.rpartition(":")
    if not colon:
        return host, user, ""
    if not port.isdecimal():
        raise bad_address(address.uri, f"{shown(port)} is no port; expected a number")
    return name.strip("[]"), user, port


def _sftp_path(address: Address, given: dict[str, str]) -> str:
    """From the root where the address names the host; else as the remote's server has it."""
    if address.scheme != "sftp":
        return address.place
    host, user, port = _authority(address)
    same = host == given.get("host") and (not port or port == given.get("port", "22"))
    if not same or (user and user != given.get("user")):
        raise bad_address(
            address.uri,
            "it leads to another host, port or user than its remote does; expected the same, or a remote without them",
        )
    return f"/{address.place.partition('/')[2]}"


def _or_type(scheme: str) -> str:
    kinds = TYPES.get(scheme, ())
    return f", or is of type {shown(kinds[0])}" if kinds else ""
