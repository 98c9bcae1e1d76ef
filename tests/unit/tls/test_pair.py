"""What is read from files, and how each fault of theirs is told."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from overbook.tls.authority import issue, make_authority
from overbook.tls.files import PEER_NAME, TlsFiles
from overbook.tls.pair import TlsUnusable, read_pair
from tests.unit.tls.certificates import DAY, HOSTS, NOW, peer_files, put, server_files


def test_a_pair_is_read_with_its_names_and_its_end(tmp_path: Path) -> None:
    files = server_files(tmp_path)
    pair = read_pair(files, NOW)
    assert pair.names == HOSTS
    assert pair.ends == NOW + 397 * DAY
    assert pair.certificate == files.certificate.read_bytes() == pair.leaf
    assert (pair.key, pair.client_ca) == (files.key.read_bytes(), b"")


def test_certificates_that_follow_the_first_are_kept(tmp_path: Path) -> None:
    authority = make_authority("between", NOW)
    files = server_files(tmp_path, authority)
    leaf = files.certificate.read_bytes()
    files.certificate.write_bytes(leaf + authority.certificate)
    pair = read_pair(files, NOW)
    assert (pair.certificate, pair.leaf) == (leaf + authority.certificate, leaf)


def said(files: TlsFiles, now: float = NOW) -> str:
    with pytest.raises(TlsUnusable) as failed:
        read_pair(files, now)
    text = str(failed.value)
    assert "\n" not in text
    return text


def test_a_file_that_is_missing_or_no_file_is_named(tmp_path: Path) -> None:
    files = server_files(tmp_path)
    files.key.unlink()
    assert said(files) == (
        f"key {files.key}: cannot be read (No such file or directory); expected a PEM file that this user may read"
    )
    assert "Is a directory" in said(TlsFiles(tmp_path, files.key))


def test_what_is_no_pem_is_named(tmp_path: Path) -> None:
    files = server_files(tmp_path)
    nonsense = tmp_path / "nonsense"
    nonsense.write_bytes(b"\x00nonsense")
    assert said(TlsFiles(nonsense, files.key)).startswith(
        f"certificate {nonsense}: no certificate can be read from it; expected one or more in PEM"
    )
    assert said(TlsFiles(files.certificate, nonsense)).startswith(
        f"key {nonsense}: no key can be read from it; expected a private key in PEM"
    )
    assert said(TlsFiles(files.certificate, files.key, nonsense)).startswith(
        f"client CA {nonsense}: no certificate can be read"
    )
    # Key and certificate exchanged.
    assert "no certificate can be read" in said(TlsFiles(files.key, files.certificate))


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    files = server_files(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    key = server_files(other).key
    assert said(TlsFiles(files.certificate, key)) == (
        f"key {key}: it is not the key of certificate {files.certificate}; expected the one that was made with it"
    )


def test_a_key_with_a_password_is_refused(tmp_path: Path) -> None:
    files = server_files(tmp_path)
    key = load_pem_private_key(files.key.read_bytes(), None)
    closed = key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    files.key.write_bytes(closed)
    assert said(files).startswith(
        f"key {files.key}: it is encrypted; expected a key without a password"
    )


def test_a_certificate_is_refused_before_and_after_its_time(tmp_path: Path) -> None:
    files = server_files(tmp_path)
    assert said(files, NOW + 397 * DAY).startswith(
        f"certificate {files.certificate}: it expired on 2028-02-16 08:00 UTC; expected one that is valid now; "
        "`overbook tls init --renew`"
    )
    assert "it is valid from 2027-01-15 07:55 UTC on, and now it is 2027-01-14" in said(
        files, NOW - DAY
    )


def test_keys_that_envoy_would_refuse_are_refused(tmp_path: Path) -> None:
    files = server_files(tmp_path)
    for key, kind in (
        (rsa.generate_private_key(65537, 1024), "an RSA key of 1024 bits"),
        (ed25519.Ed25519PrivateKey.generate(), "a key of the kind Ed25519"),
    ):
        files.certificate.write_bytes(self_signed(key))
        assert f"it has {kind}; expected ECDSA on P-256, P-384 or P-521, or RSA" in said(files)


def test_a_name_that_it_must_be_for(tmp_path: Path) -> None:
    assert read_pair(peer_files(tmp_path), time.time()).names == (PEER_NAME,)
    assert said(peer_files(tmp_path, named="other.example"), time.time()) == (
        f"certificate {tmp_path}/peer.pem: it is for other.example; expected one that is for {PEER_NAME} too, such as "
        "peer.pem of `overbook tls init`"
    )


def self_signed(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "weak")])
    begins = datetime.fromtimestamp(NOW, UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=1))
        .sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.PEM)


def test_a_client_ca_must_be_an_authority_that_is_valid(tmp_path: Path) -> None:
    authority = make_authority("test authority", NOW)
    ca, _ = put(tmp_path, "ca", authority)
    files = server_files(tmp_path, authority, client_ca=ca)
    assert read_pair(files, NOW).client_ca == authority.certificate
    ca.write_bytes(issue(authority, "client", NOW, client=True).certificate)
    assert "the certificate in it is no authority's" in said(files)
    ca.write_bytes(make_authority("old", NOW - 3651 * DAY).certificate)
    assert f"client CA {ca}: it expired on" in said(files)
