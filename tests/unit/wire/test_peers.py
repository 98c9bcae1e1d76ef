"""What is said when parts do not come to speak to each other."""

from __future__ import annotations

import grpc.aio
import pytest

from overbook.wire.peers import reason


@pytest.mark.parametrize(
    ("details", "said"),
    [
        (
            "failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.5:9005: Tls handshake failed (X)",
            "no connection over TLS (the certificates of both have to be valid, and of one authority: --peer-cert and",
        ),
        (
            "failed to connect to all addresses; last error: UNAVAILABLE: ipv4:127.0.0.1:9005: Socket closed",
            "Socket closed; does it speak TLS to other parts? Then this one needs a certificate too: --peer-cert",
        ),
        ("Socket closed", "Socket closed"),
        ("it stops", "it stops"),
        ("", "UNAVAILABLE"),
        ("two\nlines", "two lines"),
    ],
)
def test_a_reason_is_one_line_and_says_what_to_do(details: str, said: str) -> None:
    nothing = grpc.aio.Metadata()
    error = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, nothing, nothing, details=details)
    assert said in reason(error)
    assert "\n" not in reason(error)
