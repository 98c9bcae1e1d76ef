"""Pure: how an activation ended, and what Envoy is told about it (the answers of an ext_authz server over HTTP).

The text of a refusal is plain: Envoy's connection manager makes it {"error": text} over REST and the
grpc-message over gRPC.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Final, assert_never

from overbook.gateway.snapshot.names import (
    CLUSTER_HEADER,
    GRANT_HEADER,
    REFUSED_STATUS,
    REMOVE_HEADER,
    VERIFIED_HEADER,
)
from overbook.manifests.plain_text import plain_text
from overbook.wire.outcomes import Outcome

_SERVER_ERRORS: Final = 500
_UNITS: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


class NotServed(Enum):
    """Why a request does not reach a model: HTTP status, gRPC status, name in the metrics, whether it is final, and
    after how many seconds its client may try again where nobody says better (0: it had better not).

    What is final is answered at once: who refused would say the same again while the request waits. Of anything else
    the request does not hear before it was asked again for a while.
    """

    UNKNOWN = (404, 5, "unknown_model", True, 0.0)
    NO_SUCH_CALL = (404, 12, "no_such_call", True, 0.0)  # its server has none
    WRONG_METHOD = (405, 12, "wrong_method", True, 0.0)
    UNSCHEDULED = (503, 14, "unscheduled", True, 1.0)
    LOAD_FAILED = (503, 14, "load_failed", True, 0.0)  # its backoff is the advice
    TOO_MANY = (429, 8, "too_many_of_token", True, 1.0)
    OVERLOADED = (503, 14, "overloaded", True, 1.0)
    DEADLINE = (503, 14, "deadline", True, 1.0)
    NO_ROOM = (503, 14, "no_room", True, 0.0)  # until a person does something
    UNAVAILABLE = (503, 14, "unavailable", False, 1.0)

    def __init__(self, http: int, grpc: int, label: str, final: bool, retry_after: float) -> None:
        self.http = http
        self.grpc = grpc
        self.label = label
        self.final = final
        self.retry_after = retry_after


def refusal_of(outcome: Outcome) -> NotServed | None:
    """What an agent's answer is to the request; None: none. The type checker finds an outcome that is missing here."""
    match outcome:
        case Outcome.RESIDENT:
            return None
        case Outcome.NOT_ASSIGNED:
            return NotServed.UNAVAILABLE  # the catalogue is ahead of the agent, or behind
        case Outcome.LOAD_FAILED:
            return NotServed.LOAD_FAILED
        case Outcome.OVERLOADED:
            return NotServed.OVERLOADED
        case Outcome.DEADLINE:
            return NotServed.DEADLINE
        case Outcome.UNAVAILABLE:
            return NotServed.UNAVAILABLE
        case Outcome.NO_ROOM:
            return NotServed.NO_ROOM
    assert_never(outcome)


@dataclass(frozen=True, slots=True)
class Granted:
    """The model is resident; ``cluster`` leads there. ``asked``: an agent made, or found, it so."""

    cluster: str
    asked: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """``retry_after``: seconds; 0: no advice. ``allow``: the method that would be right."""

    refusal: NotServed
    reason: str
    retry_after: float = 0.0
    allow: str = ""


Verdict = Granted | Refused


def to_envoy(verdict: Verdict, *, grpc_call: bool, verified: bool, gateway: str) -> bytes:
    """An answer in HTTP/1.1. ``verified``: the model was just seen to be there, so the server has the last word.

    ``gateway``: who lets the request through, as inference servers that count have it.
    """
    if isinstance(verdict, Granted):
        first = f"{VERIFIED_HEADER}: 1" if verified else f"{REMOVE_HEADER}: {VERIFIED_HEADER}"
        headers = [first, f"{CLUSTER_HEADER}: {verdict.cluster}", f"{GRANT_HEADER}: {gateway}"]
        return _answer("200 OK", headers, "")
    refusal, headers = verdict.refusal, []
    if grpc_call:
        headers.append(f"grpc-status: {refusal.grpc}")
    if verdict.retry_after > 0:
        headers.append(f"retry-after: {math.ceil(verdict.retry_after)}")
    if verdict.allow:
        headers.append(f"allow: {verdict.allow}")
    # Envoy takes a 5xx for a failure to answer.
    status = refusal.http if refusal.http < _SERVER_ERRORS else REFUSED_STATUS
    return _answer(f"{status} {refusal.label}", headers, plain_text(verdict.reason))


def _answer(status: str, headers: list[str], body: str) -> bytes:
    content = body.encode()
    lines = [f"HTTP/1.1 {status}", *headers, f"content-length: {len(content)}", "", ""]
    return "\r\n".join(lines).encode() + content


def grpc_timeout_seconds(text: str) -> float | None:
    """The value of a grpc-timeout header in seconds; None when it is absent or malformed."""
    if len(text) < 2 or not text[:-1].isdigit() or text[-1] not in _UNITS:
        return None
    return int(text[:-1]) * _UNITS[text[-1]]
