from __future__ import annotations

import pytest

from overbook.gateway.verdicts import (
    Granted,
    Refusal,
    Refused,
    grpc_timeout_seconds,
    to_envoy,
)


def test_granted_names_the_cluster() -> None:
    granted = Granted("rest/iris/0", asked=True)
    response = to_envoy(granted, grpc_call=False, verified=False)
    headers = {item.header.key: item.header.value for item in response.ok_response.headers}
    assert headers == {"x-overbook-cluster": "rest/iris/0"}
    assert list(response.ok_response.headers_to_remove) == ["x-overbook-verified"]
    response = to_envoy(granted, grpc_call=True, verified=True)
    assert {item.header.key for item in response.ok_response.headers} == {
        "x-overbook-cluster",
        "x-overbook-verified",
    }


@pytest.mark.parametrize("grpc_call", [False, True])
def test_refused_says_why(grpc_call: bool) -> None:
    refused = Refused(Refusal.OVERLOADED, "model iris: too many", 1.2)
    response = to_envoy(refused, grpc_call=grpc_call, verified=False)
    denied = response.denied_response
    assert response.status.code != 0
    assert (denied.status.code, denied.body) == (503, "model iris: too many")
    headers = {item.header.key: item.header.value for item in denied.headers}
    assert headers.pop("grpc-status", None) == ("14" if grpc_call else None)
    assert headers == {"retry-after": "2"}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("5S", 5.0),
        ("250m", 0.25),
        ("1H", 3600.0),
        ("7n", 7e-9),
        ("", None),
        ("S", None),
        ("1x", None),
    ],
)
def test_grpc_timeout(text: str, seconds: float | None) -> None:
    assert grpc_timeout_seconds(text) == (seconds if seconds is None else pytest.approx(seconds))
