from __future__ import annotations

import pytest

from overbook.gateway.router import ServerAddresses
from overbook.gateway.snapshot.clusters import Endpoint
from overbook.gateway.snapshot.names import Protocol

_REST = Endpoint("h:1", http2=False, keeps_connections=False)
_GRPC = Endpoint("h:2", http2=True, keeps_connections=True)
_INFER = Endpoint("h:3", http2=False, keeps_connections=True)


@pytest.mark.parametrize(
    ("infer", "expected"),
    [
        ("", {Protocol.REST: _REST, Protocol.GRPC: _GRPC, Protocol.STREAM: _GRPC}),
        ("h:3", {Protocol.REST: _INFER, Protocol.GRPC: _INFER, Protocol.STREAM: _GRPC}),
    ],
)
def test_unary_inference_goes_to_the_endpoint_for_gateways_where_there_is_one(
    infer: str, expected: dict[Protocol, Endpoint]
) -> None:
    addresses = ServerAddresses(rest="h:1", grpc="h:2", infer=infer)
    assert {protocol: addresses.of(protocol) for protocol in Protocol} == expected
