"""Which servers a client trusts over TLS, and by which certificate it shows itself: the environment's, or `--ca`.

Without either, the authorities of this system, and no certificate. How a connection failed is `tls_faults`' to say.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from overbook.client.errors import BadTrust

CA_VARIABLE: Final = "OVERBOOK_CA"
CERT_VARIABLE: Final = "OVERBOOK_CLIENT_CERT"
KEY_VARIABLE: Final = "OVERBOOK_CLIENT_KEY"


@dataclass(frozen=True, slots=True)
class Pinned:
    """A server's own certificate (PEM), which is trusted by itself. ``name``: one that it is for."""

    certificate: str
    name: str


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Beside the environment. ``ca``: instead of its; ``pinned``: where neither names an authority."""

    ca: Path | None = None
    pinned: Pinned | None = None


_chosen: ContextVar[_Chosen] = ContextVar("trust", default=_Chosen())  # noqa: B039  it is frozen


@contextmanager
def trusting(*, ca: Path | None = None, pinned: Pinned | None = None) -> Iterator[None]:
    """For clients that are made in the block."""
    now = _chosen.get()
    token = _chosen.set(replace(now, ca=ca or now.ca, pinned=pinned or now.pinned))
    try:
        yield
    finally:
        _chosen.reset(token)


@dataclass(frozen=True, slots=True)
class Trust:
    """What is trusted, and shown, now. PEM; ``ca`` is None for the authorities of this system, ``pair`` for nothing."""

    ca: bytes | None
    pinned: Pinned | None
    pair: tuple[Path, Path] | None

    def context(self) -> ssl.SSLContext:
        """Raises BadTrust when a file is no good."""
        if self.pinned is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            context.load_verify_locations(cadata=self.pinned.certificate)
        else:
            context = _trusting(self.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.pair is not None:
            _show(context, *self.pair)
        return context

    def roots(self) -> bytes | None:
        """For gRPC, whose library has authorities of its own. None for these, where the system has none."""
        if self.pinned is not None:
            return self.pinned.certificate.encode()
        if self.ca is not None:
            return self.ca
        of_system = ssl.get_default_verify_paths().cafile
        return None if of_system is None else Path(of_system).read_bytes()

    def shown(self) -> tuple[bytes | None, bytes | None]:
        """Certificate and key, in PEM. Raises BadTrust."""
        if self.pair is None:
            return None, None
        certificate, key = self.pair
        # Which looks whether they fit, in words.
        _show(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), certificate, key)
        return _read(CERT_VARIABLE, certificate), _read(KEY_VARIABLE, key)


def trust() -> Trust:
    """Raises BadTrust when what the environment or `--ca` names cannot be read."""
    chosen = _chosen.get()
    ca = chosen.ca or _path(CA_VARIABLE)
    certificate, key = _path(CERT_VARIABLE), _path(KEY_VARIABLE)
    if (certificate is None) != (key is None):
        raise BadTrust(
            f"{CERT_VARIABLE} and {KEY_VARIABLE} belong together; expected both or none: the PEM files of a client's "
            "certificate and of its key"
        )
    return Trust(
        ca=None if ca is None else _read(f"--ca or {CA_VARIABLE}", ca),
        pinned=chosen.pinned if ca is None else None,
        pair=None if certificate is None or key is None else (certificate, key),
    )


def _trusting(ca: bytes | None) -> ssl.SSLContext:
    if ca is None:
        return ssl.create_default_context()
    try:
        return ssl.create_default_context(cadata=ca.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise BadTrust(
            f"--ca or {CA_VARIABLE}: there is no certificate in it; expected a PEM file of the authority that made the "
            "server's certificate, such as ca.pem of `overbook tls init`"
        ) from error


def _show(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    try:
        # A key with a password is not asked for one at the terminal.
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except ssl.SSLError as error:
        raise BadTrust(
            f"{CERT_VARIABLE} {certificate} and {KEY_VARIABLE} {key}: cannot be used "
            f"({error.reason or 'no certificate and key'}); expected the PEM files of a certificate and of its own "
            "key, without a password"
        ) from error
    except OSError as error:
        raise BadTrust(
            f"{CERT_VARIABLE} {certificate} and {KEY_VARIABLE} {key}: cannot be read ({error.strerror or error}); "
            "expected PEM files"
        ) from error


def _path(variable: str) -> Path | None:
    text = os.environ.get(variable, "").strip()
    return Path(text) if text else None


def _read(setting: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadTrust(
            f"{setting}: {path} cannot be read ({error.strerror or error}); expected a PEM file"
        ) from error
