"""Pure: TLS of Envoy's listener for clients. What is in the certificates comes by xDS, so that it can change while
connections last.
"""

from __future__ import annotations

from typing import Final

from envoy.config.core.v3 import base_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, secret_pb2

from overbook.gateway.snapshot.route_parts import Json

CERTIFICATE: Final = "data-certificate"
CLIENTS: Final = "data-clients"
# Of TLS 1.2; all of TLS 1.3 are sensible.
_CIPHERS: Final = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
)
_SOCKET: Final = (
    "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
)


def transport_socket(*, asks_clients: bool) -> Json:
    """How connections are wrapped. ``asks_clients``: each has to show a certificate."""
    common: dict[str, Json] = {
        "tls_params": {
            "tls_minimum_protocol_version": "TLSv1_2",
            "tls_maximum_protocol_version": "TLSv1_3",
            "cipher_suites": list(_CIPHERS),
        },
        "alpn_protocols": ["h2", "http/1.1"],
        "tls_certificate_sds_secret_configs": [_by_xds(CERTIFICATE)],
    }
    if asks_clients:
        common["validation_context_sds_secret_config"] = _by_xds(CLIENTS)
    return {
        "name": "tls",
        "typed_config": {
            "@type": _SOCKET,
            "common_tls_context": common,
            "require_client_certificate": asks_clients,
        },
    }


def secrets(certificate: bytes, key: bytes, client_ca: bytes) -> list[secret_pb2.Secret]:
    """What the listener has by these names. All in PEM; ``client_ca``: empty where clients are not asked."""
    pair = common_pb2.TlsCertificate(
        certificate_chain=base_pb2.DataSource(inline_bytes=certificate),
        private_key=base_pb2.DataSource(inline_bytes=key),
    )
    found = [secret_pb2.Secret(name=CERTIFICATE, tls_certificate=pair)]
    if client_ca:
        trusted = common_pb2.CertificateValidationContext(
            trusted_ca=base_pb2.DataSource(inline_bytes=client_ca)
        )
        found.append(secret_pb2.Secret(name=CLIENTS, validation_context=trusted))
    return found


def _by_xds(name: str) -> Json:
    return {"name": name, "sds_config": {"ads": {}, "resource_api_version": "V3"}}
