"""TLS of the clients' listener: what of it changes, and what stays as it is without."""

from __future__ import annotations

import json
from typing import Any

from envoy.config.core.v3 import base_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, tls_pb2
from google.protobuf import json_format

from overbook.gateway.snapshot.data_listener import Door, data_listener
from overbook.gateway.snapshot.edge import EdgeLimits
from overbook.gateway.snapshot.tls import CERTIFICATE, CLIENTS, secrets, transport_socket

LIMITS = EdgeLimits(head_seconds=7)


def context(*, asks_clients: bool) -> tls_pb2.DownstreamTlsContext:
    found = tls_pb2.DownstreamTlsContext()
    plain = json_format.Parse(
        json.dumps(transport_socket(asks_clients=asks_clients)),
        base_pb2.TransportSocket(),
    )
    assert plain.typed_config.Unpack(found)
    return found


def test_old_versions_and_weak_ciphers_are_not_offered() -> None:
    found = context(asks_clients=False)
    params = found.common_tls_context.tls_params
    assert params.tls_minimum_protocol_version == common_pb2.TlsParameters.TLSv1_2
    assert params.tls_maximum_protocol_version == common_pb2.TlsParameters.TLSv1_3
    assert all(each.startswith("ECDHE-") for each in params.cipher_suites)
    assert all("GCM" in each or "POLY1305" in each for each in params.cipher_suites)
    assert list(found.common_tls_context.alpn_protocols) == ["h2", "http/1.1"]


def test_certificates_come_by_xds_and_clients_are_asked_where_wanted() -> None:
    found = context(asks_clients=False)
    [secret] = found.common_tls_context.tls_certificate_sds_secret_configs
    assert (secret.name, secret.sds_config.HasField("ads")) == (CERTIFICATE, True)
    assert not found.require_client_certificate.value
    assert not found.common_tls_context.HasField("validation_context_sds_secret_config")
    found = context(asks_clients=True)
    assert found.require_client_certificate.value
    assert found.common_tls_context.validation_context_sds_secret_config.name == CLIENTS


def test_the_rest_of_the_listener_is_as_without_tls() -> None:
    plain: Any = data_listener(Door("::", 9000), "/log", LIMITS)
    wrapped: Any = data_listener(Door("::", 9000, tls=True), "/log", LIMITS)
    [chain], [wrapped_chain] = plain.pop("filter_chains"), wrapped.pop("filter_chains")
    assert wrapped == plain
    assert wrapped_chain["filters"] == chain["filters"]
    # Who begins no handshake is let go as who sends no request.
    assert wrapped_chain["transport_socket_connect_timeout"] == "7s"
    assert "transport_socket" not in chain


def test_secrets_are_what_the_listener_names() -> None:
    [alone] = secrets(b"CERT", b"KEY", b"")
    assert alone.name == CERTIFICATE
    assert alone.tls_certificate.certificate_chain.inline_bytes == b"CERT"
    assert alone.tls_certificate.private_key.inline_bytes == b"KEY"
    [_, clients] = secrets(b"CERT", b"KEY", b"CA")
    assert clients.name == CLIENTS
    assert clients.validation_context.trusted_ca.inline_bytes == b"CA"
