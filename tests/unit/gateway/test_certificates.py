"""What Envoy is told of a certificate, and when it changes."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2

from overbook.gateway.certificates import Certificates
from overbook.gateway.errors import GatewayStartFailed
from overbook.gateway.snapshot.data_listener import Door
from overbook.gateway.snapshot.tls import CERTIFICATE, CLIENTS
from overbook.gateway.xds import SECRET_TYPE, Feed
from overbook.tls.authority import make_authority
from overbook.tls.following import FollowedPair
from tests.unit.tls.certificates import put, server_files

NOW = time.time()


async def test_without_tls_the_door_is_plain_and_envoy_is_told_nothing() -> None:
    feed = Feed()
    certificates = Certificates(None, feed)
    assert certificates.door("::", 9000) == Door("::", 9000)
    assert feed.revision == 0
    certificates.check()


async def test_the_pair_in_use_is_told_and_each_new_one(tmp_path: Path) -> None:
    feed = Feed()
    ca, _ = put(tmp_path, "ca", make_authority("clients", NOW))
    followed = FollowedPair(server_files(tmp_path, now=NOW, client_ca=ca), lambda: NOW)
    certificates = Certificates(followed, feed)
    assert certificates.door("::", 9000) == Door("::", 9000, tls=True, asks_clients=True)
    assert (
        _told(feed, CERTIFICATE).tls_certificate.certificate_chain.inline_bytes
        == (tmp_path / "server.pem").read_bytes()
    )
    assert _told(feed, CLIENTS).validation_context.trusted_ca.inline_bytes == ca.read_bytes()
    before = feed.revision
    server_files(tmp_path, now=NOW)
    assert followed.look()
    followed.hand_on()
    assert feed.revision > before
    assert (
        _told(feed, CERTIFICATE).tls_certificate.private_key.inline_bytes
        == (tmp_path / "server.key").read_bytes()
    )


async def test_a_start_with_what_envoy_refuses_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = Feed()
    certificates = Certificates(FollowedPair(server_files(tmp_path, now=NOW), lambda: NOW), feed)
    certificates.check()
    monkeypatch.setattr(feed, "refusal", lambda revision: "bad curve" if revision == 1 else "")
    with pytest.raises(GatewayStartFailed, match="in the files of the certificate: bad curve"):
        certificates.check()


def _told(feed: Feed, name: str) -> secret_pb2.Secret:
    return secret_pb2.Secret.FromString(feed._wanted[SECRET_TYPE, name].resource.value)
