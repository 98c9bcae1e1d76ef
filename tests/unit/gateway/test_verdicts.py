from __future__ import annotations

import io
import socket
from http.client import HTTPResponse
from typing import cast

import pytest

from overbook.gateway.verdicts import (
    Granted,
    NotServed,
    Refused,
    Verdict,
    grpc_timeout_seconds,
    refusal_of,
    to_envoy,
)
from overbook.wire.agent_pb2 import ActivateReply
from overbook.wire.outcomes import Outcome, outcome_of


class _Sent:
    """Stands in for a socket on which the answer came."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._answer)


def _said(verdict: Verdict, *, grpc_call: bool, verified: bool) -> tuple[int, dict[str, str], str]:
    """Status, headers and body, as an HTTP client reads them."""
    answer = to_envoy(verdict, grpc_call=grpc_call, verified=verified, gateway="gw.1")
    response = HTTPResponse(cast(socket.socket, _Sent(answer)))
    response.begin()
    body = response.read().decode()
    headers = {name: value for name, value in response.getheaders() if name != "content-length"}
    return response.status, headers, body


def test_granted_names_the_cluster() -> None:
    granted = Granted("rest/iris/0", asked=True)
    assert _said(granted, grpc_call=False, verified=False) == (
        200,
        {
            "x-overbook-cluster": "rest/iris/0",
            "x-overbook-grant": "gw.1",
            "x-envoy-auth-headers-to-remove": "x-overbook-verified",
        },
        "",
    )
    assert _said(granted, grpc_call=True, verified=True) == (
        200,
        {
            "x-overbook-cluster": "rest/iris/0",
            "x-overbook-grant": "gw.1",
            "x-overbook-verified": "1",
        },
        "",
    )


@pytest.mark.parametrize("grpc_call", [False, True])
@pytest.mark.parametrize(
    ("refusal", "status", "code"),
    [(NotServed.OVERLOADED, 403, "14"), (NotServed.UNKNOWN, 404, "5")],
)
def test_refused_says_why(refusal: NotServed, status: int, code: str, grpc_call: bool) -> None:
    """Never with a 5xx, which Envoy would take for a failure to answer."""
    refused = Refused(refusal, "model iris: zu viele, für jetzt", 1.2)
    said, headers, body = _said(refused, grpc_call=grpc_call, verified=False)
    assert (said, body) == (status, "model iris: zu viele, für jetzt")
    assert headers.pop("grpc-status", None) == (code if grpc_call else None)
    assert headers == {"retry-after": "2"}


def test_a_wrong_method_says_which_is_right() -> None:
    refused = Refused(NotServed.WRONG_METHOD, "no", allow="POST")
    answer = to_envoy(refused, grpc_call=False, verified=False, gateway="g")
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"\r\nallow: POST\r\n" in answer


def test_only_what_may_change_while_a_request_waits_is_not_final() -> None:
    assert {each for each in NotServed if not each.final} == {NotServed.UNAVAILABLE}
    assert {each for each in NotServed if each.http != 503} == {
        NotServed.UNKNOWN,
        NotServed.NO_SUCH_CALL,
        NotServed.WRONG_METHOD,
        NotServed.TOO_MANY,
    }
    waits_for_a_person = {each for each in NotServed if not each.retry_after}
    assert waits_for_a_person == {
        NotServed.UNKNOWN,
        NotServed.NO_SUCH_CALL,
        NotServed.WRONG_METHOD,
        NotServed.LOAD_FAILED,
        NotServed.NO_ROOM,
    }


def test_every_outcome_of_an_agent_is_known() -> None:
    refusals = {outcome: refusal_of(outcome) for outcome in Outcome}
    assert refusals.pop(Outcome.RESIDENT) is None
    assert None not in refusals.values()
    assert refusals[Outcome.NO_ROOM] is NotServed.NO_ROOM
    assert outcome_of(ActivateReply(outcome=99)) is Outcome.UNAVAILABLE  # type: ignore[arg-type]  # a newer agent's


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


def test_what_a_model_says_of_its_failure_does_nothing_to_a_terminal() -> None:
    refused = Refused(NotServed.LOAD_FAILED, "\x1b]0;owned\x07cannot be loaded\x07")
    for grpc_call in (False, True):
        _, _, body = _said(refused, grpc_call=grpc_call, verified=False)
        assert body == "cannot be loaded\\x07"
