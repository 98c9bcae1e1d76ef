"""How parts know each other at ports: each shows a certificate, and takes whoever shows one of the same authority.

Who has such a certificate is a part, wherever it runs: it is asked by one name that all of them have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, cast

import grpc
import grpc.aio

from overbook.tls.files import PEER_NAME
from overbook.tls.following import FollowedPair
from overbook.tls.pair import Pair


class Peers:
    """``followed``: this part's certificate, its key, and the authority of all parts; who made it keeps it followed."""

    def __init__(self, followed: FollowedPair) -> None:
        self._followed: Final = followed

    @property
    def current(self) -> Pair:
        """What new connections are made with."""
        return self._followed.current

    def server_credentials(self) -> grpc.ServerCredentials:
        """For connections that begin from now on, with what is current when they do."""
        # None, which the library takes for no change, is not in the type that it declares.
        changes = cast(
            "Callable[[], grpc.ServerCertificateConfiguration]", _changes(lambda: self.current)
        )
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self.current), changes, require_client_authentication=True
        )

    def channel(self, target: str, options: tuple[tuple[str, int], ...]) -> grpc.aio.Channel:
        """With what is current: make another one when that changes."""
        pair = self.current
        credentials = grpc.ssl_channel_credentials(pair.client_ca, pair.key, pair.certificate)
        named = ("grpc.ssl_target_name_override", PEER_NAME)
        return grpc.aio.secure_channel(target, credentials, options=(*options, named))


def _changes(
    current: Callable[[], Pair],
) -> Callable[[], grpc.ServerCertificateConfiguration | None]:
    """Asked before each handshake, in a thread of gRPC's: what is to be used from now on, None for the same."""
    used = current()

    def change() -> grpc.ServerCertificateConfiguration | None:
        nonlocal used
        pair = current()
        if pair is used:
            return None
        used = pair
        return _configuration(pair)

    return change


def _configuration(pair: Pair) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(pair.key, pair.certificate)], root_certificates=pair.client_ca
    )


def reason(error: grpc.aio.AioRpcError) -> str:
    """Why a call to another part failed, in a line; where TLS did not come about, with what to do."""
    details = " ".join((error.details() or error.code().name).split())
    if "handshake failed" in details:
        what = "the certificates of both have to be valid, and of one authority: --peer-cert and --peer-ca"
        return f"no connection over TLS ({what}); {details}"
    if "failed to connect" in details and "Socket closed" in details:
        return f"{details}; does it speak TLS to other parts? Then this one needs a certificate too: --peer-cert"
    return details
