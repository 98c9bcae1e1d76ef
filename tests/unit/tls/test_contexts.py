"""What Python's servers do with a pair: by handshakes in memory."""

from __future__ import annotations

import ssl
import time
from pathlib import Path

import pytest

from overbook.tls.authority import Made, issue, make_authority
from overbook.tls.contexts import OwnClient, ServerContext
from overbook.tls.pair import Pair, read_pair
from tests.unit.tls.certificates import put, server_files
from tests.unit.tls.handshakes import Ends, shake

NOW = time.time()


@pytest.fixture
def authority() -> Made:
    return make_authority("test", NOW)


def client(authority: Made) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=authority.certificate.decode())


def pair(folder: Path, authority: Made, clients: Made | None = None) -> Pair:
    ca = None if clients is None else put(folder, "ca", clients)[0]
    return read_pair(server_files(folder, authority, NOW, client_ca=ca), NOW)


def test_a_new_pair_is_for_the_next_connection(tmp_path: Path, authority: Made) -> None:
    serving = ServerContext(pair(tmp_path, authority))
    assert shake(client(authority), serving.context, "localhost") == "TLSv1.3"
    other = make_authority("test", NOW)
    serving.use(pair(tmp_path, other))
    assert shake(client(other), serving.context, "127.0.0.1") == "TLSv1.3"
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(client(authority), serving.context, "localhost")


def test_nothing_older_than_tls_1_2(tmp_path: Path, authority: Made) -> None:
    serving = ServerContext(pair(tmp_path, authority))
    old = client(authority)
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        old.minimum_version = ssl.TLSVersion.TLSv1_1
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        shake(old, serving.context, "localhost")
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    assert shake(old, serving.context, "localhost") == "TLSv1.2"
    old.set_ciphers("AES128-SHA:ECDHE-ECDSA-AES128-SHA")
    with pytest.raises(ssl.SSLError):
        shake(old, serving.context, "localhost")


def test_clients_show_a_certificate_of_the_authority_in_force(
    tmp_path: Path, authority: Made
) -> None:
    clients, others = make_authority("clients", NOW), make_authority("others", NOW)
    serving = ServerContext(pair(tmp_path, authority, clients))
    theirs, strangers = client(authority), client(authority)
    theirs.load_cert_chain(*put(tmp_path, "a", issue(clients, "a", NOW, client=True)))
    strangers.load_cert_chain(*put(tmp_path, "b", issue(others, "b", NOW, client=True)))
    shake(theirs, serving.context, "localhost")
    for refused in (client(authority), strangers):
        with pytest.raises(ssl.SSLError):
            shake(refused, serving.context, "localhost")
    serving.use(pair(tmp_path, authority, others))
    shake(strangers, serving.context, "localhost")
    with pytest.raises(ssl.SSLError):
        shake(theirs, serving.context, "localhost")


def test_a_session_is_not_resumed_past_a_change_of_authority(
    tmp_path: Path, authority: Made
) -> None:
    clients = make_authority("clients", NOW)
    serving = ServerContext(pair(tmp_path, authority, clients))
    theirs = client(authority)
    theirs.load_cert_chain(*put(tmp_path, "a", issue(clients, "a", NOW, client=True)))
    theirs.maximum_version = ssl.TLSVersion.TLSv1_2
    ends = Ends(theirs, serving.context, "localhost")
    ends.shake()
    assert ends.client.session is not None
    assert not ends.client.session.has_ticket


def test_this_process_is_a_client_of_itself_under_any_name(tmp_path: Path, authority: Made) -> None:
    own, other = OwnClient(NOW), OwnClient(NOW)
    served = pair(tmp_path, authority, make_authority("clients", NOW))
    serving = ServerContext(served, own.authority)
    shake(own.context(served), serving.context, "anything.example")
    with pytest.raises(ssl.SSLError):
        shake(other.context(served), serving.context, "anything.example")
    later = pair(tmp_path, authority, make_authority("clients", NOW))
    serving.use(later)
    shake(own.context(later), serving.context, "anything.example")
    with pytest.raises(ssl.SSLCertVerificationError):
        shake(own.context(served), serving.context, "anything.example")
