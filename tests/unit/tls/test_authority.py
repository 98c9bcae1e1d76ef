"""What an authority signs is what OpenSSL takes from it, and from no other."""

from __future__ import annotations

import ssl
import time
from pathlib import Path

import pytest

from overbook.tls.authority import issue, make_authority
from tests.unit.tls.certificates import put
from tests.unit.tls.handshakes import shake

NOW = time.time()


def contexts(
    folder: Path, ca: bytes, other: bytes | None = None
) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A client that trusts ``ca``, and a server that asks for certificates of ``other``."""
    client = ssl.create_default_context(cadata=ca.decode())
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.pem", folder / "server.key")
    if other is not None:
        server.verify_mode = ssl.CERT_REQUIRED
        server.load_verify_locations(cadata=other.decode())
        client.load_cert_chain(folder / "client.pem", folder / "client.key")
    return client, server


@pytest.mark.parametrize("host", ["overbook.example", "a.wild.example", "10.0.0.5", "::1"])
def test_the_hosts_of_a_certificate(tmp_path: Path, host: str) -> None:
    authority = make_authority("test", NOW)
    hosts = ("overbook.example", "*.wild.example", "10.0.0.5", "::1")
    put(tmp_path, "server", issue(authority, "server", NOW, hosts=hosts, server=True))
    client, server = contexts(tmp_path, authority.certificate)
    assert shake(client, server, host) == "TLSv1.3"
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        shake(client, server, f"other.{host}" if "example" in host else "10.0.0.6")


def test_another_authority_of_the_same_name_is_another(tmp_path: Path) -> None:
    authority, other = make_authority("test", NOW), make_authority("test", NOW)
    put(tmp_path, "server", issue(authority, "server", NOW, hosts=("localhost",), server=True))
    client, server = contexts(tmp_path, other.certificate)
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(client, server, "localhost")


def test_a_clients_certificate_is_no_servers_nor_the_other_way(tmp_path: Path) -> None:
    authority = make_authority("test", NOW)
    server_made = issue(authority, "server", NOW, hosts=("localhost",), server=True)
    client_made = issue(authority, "client", NOW, hosts=("localhost",), client=True)
    put(tmp_path, "server", server_made)
    put(tmp_path, "client", client_made)
    assert shake(*contexts(tmp_path, authority.certificate, authority.certificate), "localhost")
    put(tmp_path, "client", server_made)
    with pytest.raises(ssl.SSLError):
        shake(*contexts(tmp_path, authority.certificate, authority.certificate), "localhost")
    put(tmp_path, "server", client_made)
    with pytest.raises(ssl.SSLCertVerificationError, match="unsuitable certificate purpose"):
        shake(*contexts(tmp_path, authority.certificate), "localhost")
