"""A certificate and its key, and whose clients are let in: read from files, and checked before anybody uses them.

What is wrong is said with the file's name and what to do. Nothing here follows files, or listens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from overbook.tls.files import TlsFiles

_LATE_SECONDS: Final = 14 * 86_400.0
_RSA_BITS: Final = 2048
_CURVES: Final = ("secp256r1", "secp384r1", "secp521r1")
# A file that somebody names by mistake is not read to its end.
_MOST_BYTES: Final = 4 * 1024 * 1024
_AGAIN: Final = "`overbook tls init --renew` renews those that `overbook tls init` made"

_Public: TypeAlias = ec.EllipticCurvePublicKey | rsa.RSAPublicKey


class TlsUnusable(Exception):
    """These files cannot be used. One line, which names the file, what is wrong with it, and what to do."""


@dataclass(frozen=True, slots=True)
class Pair:
    """What was in them, as PEM, when it was good. ``client_ca``: empty when nobody has to show a certificate.

    ``leaf``: the certificate alone, without those that follow it. ``names``: hosts and addresses that it is for.
    ``late``: when it should have been renewed, ``ends``: when it expires, in Unix seconds.
    """

    certificate: bytes
    key: bytes
    client_ca: bytes
    leaf: bytes
    names: tuple[str, ...]
    late: float
    ends: float


def read_pair(files: TlsFiles, now: float) -> Pair:
    """What is in the files, if it is good at ``now`` (Unix seconds). Raises TlsUnusable."""
    certificate, key = _read(files.certificate, "certificate"), _read(files.key, "key")
    authority = b"" if files.client_ca is None else _read(files.client_ca, "client CA")
    leaf = _leaf(files.certificate, certificate, now)
    public = _supported(files.certificate, leaf)
    _check_key(files, key, public)
    if files.client_ca is not None:
        _check_authority(files.client_ca, authority, now)
    names = _names(leaf)
    if files.named and files.named not in names:
        raise TlsUnusable(
            f"certificate {files.certificate}: it is for {', '.join(names) or 'no name'}; expected one that is for "
            f"{files.named} too, such as peer.pem of `overbook tls init`"
        )
    begins, ends = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
    return Pair(
        certificate=certificate,
        key=key,
        client_ca=authority,
        leaf=leaf.public_bytes(Encoding.PEM),
        names=names,
        # Some live for hours, and are renewed as often.
        late=ends - min(_LATE_SECONDS, (ends - begins) / 10),
        ends=ends,
    )


def day(seconds: float) -> str:
    """A moment as people read it, such as `2027-03-01 12:00 UTC`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _read(path: Path, what: str) -> bytes:
    try:
        with path.open("rb") as file:
            found = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise TlsUnusable(
            f"{what} {path}: cannot be read ({error.strerror or error}); expected a PEM file that this user may read"
        ) from error
    if len(found) > _MOST_BYTES:
        raise TlsUnusable(f"{what} {path}: more than {_MOST_BYTES} bytes; expected a PEM file")
    return found


def _certificates(path: Path, what: str, text: bytes) -> Sequence[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(text)
    except ValueError as error:
        raise TlsUnusable(
            f"{what} {path}: no certificate can be read from it; expected one or more in PEM, each between "
            "-----BEGIN CERTIFICATE----- and -----END CERTIFICATE-----"
        ) from error


def _leaf(path: Path, text: bytes, now: float) -> x509.Certificate:
    leaf = _certificates(path, "certificate", text)[0]
    begins, ends = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
    if now >= ends:
        raise TlsUnusable(
            f"certificate {path}: it expired on {day(ends)}; expected one that is valid now; {_AGAIN}"
        )
    if now < begins:
        raise TlsUnusable(
            f"certificate {path}: it is valid from {day(begins)} on, and now it is {day(now)}; expected one that is "
            "valid now; look at the clock of this machine"
        )
    return leaf


def _supported(path: Path, leaf: x509.Certificate) -> _Public:
    public = leaf.public_key()
    if isinstance(public, ec.EllipticCurvePublicKey):
        if public.curve.name in _CURVES:
            return public
        kind = f"an ECDSA key on {public.curve.name}"
    elif isinstance(public, rsa.RSAPublicKey):
        if public.key_size >= _RSA_BITS:
            return public
        kind = f"an RSA key of {public.key_size} bits"
    else:
        kind = f"a key of the kind {type(public).__name__.removesuffix('PublicKey')}"
    raise TlsUnusable(
        f"certificate {path}: it has {kind}; expected ECDSA on P-256, P-384 or P-521, "
        f"or RSA of {_RSA_BITS} bits or more"
    )


def _check_key(files: TlsFiles, text: bytes, public: _Public) -> None:
    try:
        key = load_pem_private_key(text, password=None)
    except TypeError as error:
        raise TlsUnusable(
            f"key {files.key}: it is encrypted; expected a key without a password, "
            "such as `openssl pkey` writes, which this user alone may read"
        ) from error
    except ValueError as error:
        raise TlsUnusable(
            f"key {files.key}: no key can be read from it; expected a private key in PEM"
        ) from error
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*form) != public.public_bytes(*form):
        raise TlsUnusable(
            f"key {files.key}: it is not the key of certificate {files.certificate}; expected the one that was "
            "made with it"
        )


def _check_authority(path: Path, text: bytes, now: float) -> None:
    found = _certificates(path, "client CA", text)
    ends = max(each.not_valid_after_utc.timestamp() for each in found)
    if now >= ends:
        raise TlsUnusable(
            f"client CA {path}: it expired on {day(ends)}; expected an authority that is valid now"
        )
    if not any(map(_is_authority, found)):
        raise TlsUnusable(
            f"client CA {path}: the certificate in it is no authority's; expected that of the authority that signs "
            "clients' certificates"
        )


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _names(leaf: x509.Certificate) -> tuple[str, ...]:
    try:
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = map(str, found.get_values_for_type(x509.IPAddress))
    return (*found.get_values_for_type(x509.DNSName), *addresses)
