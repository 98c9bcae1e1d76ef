"""The folder that `overbook tls init` fills: which files there are, and that none is overwritten unasked.

Two authorities, since what they stand for differs: who has a certificate of the first is a client or a server that
clients trust; who has one of the second is a part of this Overbook, and hears keys and secrets.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from overbook.tls.authority import AUTHORITY_DAYS, DAYS, Made, issue, make_authority
from overbook.tls.files import PEER_NAME
from overbook.tls.pair import TlsUnusable

AUTHORITY, SERVER, CLIENT = "ca", "server", "client"
PEER_AUTHORITY, PEER = "peer-ca", "peer"


@dataclass(frozen=True, slots=True)
class Written:
    """One file. ``what``: what it is for."""

    path: Path
    what: str


@dataclass(frozen=True, slots=True)
class Filled:
    """``written`` are new, ``replaced`` were there before, ``kept`` stayed as they were."""

    written: tuple[Written, ...]
    replaced: tuple[Path, ...]
    kept: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class _Wanted:
    name: str
    what: str
    authority: str
    make: Callable[[Made], Made]


def fill(folder: Path, hosts: Sequence[str], now: float, *, renew: bool) -> Filled:
    """Make what is missing, and with ``renew`` all that the authorities sign. ``hosts``: names of the server.

    Raises TlsUnusable when half of a pair is there, or an authority without its key would have to sign, or what is kept
    was signed by an authority that is not there any more.
    """
    wanted = (
        _Wanted(
            SERVER,
            "for `up` and `serve`, as --tls-cert and --tls-key",
            AUTHORITY,
            lambda by: issue(by, "Overbook server", now, hosts=hosts, server=True),
        ),
        _Wanted(
            CLIENT,
            "for clients, where --tls-client-ca asks for one",
            AUTHORITY,
            lambda by: issue(by, "Overbook client", now, client=True),
        ),
        _Wanted(
            PEER,
            "for `serve scheduler|agent|gateway` of each machine, as --peer-cert and --peer-key",
            PEER_AUTHORITY,
            lambda by: issue(
                by, "Overbook part", now, hosts=(PEER_NAME,), server=True, client=True
            ),
        ),
    )
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    there = {
        name
        for name in (AUTHORITY, PEER_AUTHORITY, *(each.name for each in wanted))
        if _both(folder, name)
    }
    if not renew:
        for each in wanted:
            if each.name in there and each.authority not in there:
                raise TlsUnusable(_orphan(folder, each))
    filling = _Filling(folder)
    authorities = {
        AUTHORITY: (
            "Overbook authority",
            "clients trust it (OVERBOOK_CA), and it may be --tls-client-ca",
        ),
        PEER_AUTHORITY: ("Overbook authority of parts", "for all parts, as --peer-ca"),
    }
    signers = {}
    for name, (title, what) in authorities.items():
        if name in there:
            signers[name] = filling.keep(name)
        else:
            signers[name] = filling.write(name, make_authority(title, now), what, replaces=False)
    for each in wanted:
        if each.name in there and not renew:
            filling.keep(each.name)
            continue
        made = _signed(folder, each, signers[each.authority])
        filling.write(each.name, made, each.what, replaces=each.name in there)
    return filling.done()


def lifetimes() -> tuple[int, int]:
    """Days for which an authority, and what it signs, is valid."""
    return AUTHORITY_DAYS, DAYS


class _Filling:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._written: list[Written] = []
        self._replaced: list[Path] = []
        self._kept: list[Path] = []

    def keep(self, name: str) -> Made:
        certificate, key = _paths(self._folder, name)
        self._kept += (certificate, key)
        return Made(certificate.read_bytes(), key.read_bytes())

    def write(self, name: str, made: Made, what: str, *, replaces: bool) -> Made:
        certificate, key = _paths(self._folder, name)
        # The key first: whoever follows the files takes both once they fit.
        _put(key, made.key, 0o600)
        _put(certificate, made.certificate, 0o644)
        self._written += (Written(certificate, what), Written(key, "its key"))
        if replaces:
            self._replaced += (certificate, key)
        return made

    def done(self) -> Filled:
        return Filled(tuple(self._written), tuple(self._replaced), tuple(self._kept))


def _paths(folder: Path, name: str) -> tuple[Path, Path]:
    return folder / f"{name}.pem", folder / f"{name}.key"


def _both(folder: Path, name: str) -> bool:
    certificate, key = _paths(folder, name)
    if certificate.exists() != key.exists():
        one, other = (certificate, key) if certificate.exists() else (key, certificate)
        raise TlsUnusable(
            f"{one} is there, and {other} is not; expected both or none; put the other one back, or move this one away"
        )
    return certificate.exists()


def _orphan(folder: Path, wanted: _Wanted) -> str:
    certificate, key = _paths(folder, wanted.authority)
    return (
        f"{_paths(folder, wanted.name)[0]} is there, and the authority that signed it, {certificate} with {key}, is "
        "not; put these back, or say --renew: then a new authority signs new certificates, and all that trust the old "
        "one have to be given the new one"
    )


def _signed(folder: Path, wanted: _Wanted, authority: Made) -> Made:
    try:
        return wanted.make(authority)
    except (ValueError, TypeError) as error:
        certificate, key = _paths(folder, wanted.authority)
        raise TlsUnusable(
            f"authority {certificate} with key {key}: it cannot sign ({error}); expected those that "
            "`overbook tls init` made; give another folder with --dir"
        ) from error


def _put(path: Path, content: bytes, mode: int) -> None:
    """In one step: whoever reads has the old one or the new one whole."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with open(descriptor, "wb") as file:
        os.fchmod(descriptor, mode)
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    beside.rename(path)
