"""Certificates for servers on loopback, as good and as bad as they are met with."""

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAY: Final = datetime.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Certificate:
    """Files in PEM."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates. ``certificate``: its own, which whoever trusts it has in a file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("an authority for tests")
        made = _builder(self._name, self._name, self._key, _now() - _DAY, _now() + _DAY)
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.certificate = folder / "authority.pem"
        self.certificate.write_bytes(
            made.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        )

    def sign(self, file: str, host: str = "localhost", *, expired: bool = False) -> Certificate:
        """For a host name, and for 127.0.0.1 where it is localhost."""
        key = ec.generate_private_key(ec.SECP256R1())
        end = _now() - _DAY if expired else _now() + _DAY
        made = _builder(_name(host), self._name, key, _now() - 2 * _DAY, end)
        names: list[x509.GeneralName] = [x509.DNSName(host)]
        if host == "localhost":
            names.append(x509.IPAddress(ipaddress.ip_address("127.0.0.1")))
        made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return self._written(file, made.sign(self._key, hashes.SHA256()), key)

    def self_signed(self, file: str) -> Certificate:
        """For localhost, signed by nobody else."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name("localhost")
        made = _builder(name, name, key, _now() - _DAY, _now() + _DAY)
        names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
        made = made.add_extension(names, critical=False)
        return self._written(file, made.sign(key, hashes.SHA256()), key)

    def _written(
        self, file: str, made: x509.Certificate, key: ec.EllipticCurvePrivateKey
    ) -> Certificate:
        found = Certificate(self._folder / f"{file}.pem", self._folder / f"{file}.key")
        found.certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
        found.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return found


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    start: datetime.datetime,
    end: datetime.datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
    )
