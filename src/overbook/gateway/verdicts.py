"""Pure: how an activation ended, and what Envoy is told about it (the answers of an ext_authz server over HTTP).

The text of a refusal is plain: Envoy's connection manager makes it {"error": text} over REST and the
grpc-message over gRPC.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Final

from overbook.gateway.snapshot.names import (
    CLUSTER_HEADER,
    GRANT_HEADER,
    REFUSED_STATUS,
    REMOVE_HEADER,
    VERIFIED_HEADER,
)

_SERVER_ERRORS: Final = 500
_UNITS: Final = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


class Refusal(Enum):
    """Why a request does not reach a model: HTTP status, gRPC status, name in the metrics."""

    UNKNOWN = (404, 5, "unknown_model")
    UNSCHEDULED = (503, 14, "unscheduled")
    LOAD_FAILED = (503, 14, "load_failed")
    OVERLOADED = (503, 14, "overloaded")
    DEADLINE = (503, 14, "deadline")
    UNAVAILABLE = (503, 14, "unavailable")

    def __init__(self, http: int, grpc: int, label: str) -> None:
        self.http = http
        self.grpc = grpc
        self.label = label


@dataclass(frozen=True, slots=True)
class Granted:
    """The model is resident; ``cluster`` leads there. ``asked``: an agent made, or found, it so."""

    cluster: str
    asked: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """``retry_after``: seconds; 0: no advice."""

    refusal: Refusal
    reason: str
    retry_after: float = 0.0


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
    # Envoy takes a 5xx for a failure to answer.
    status = refusal.http if refusal.http < _SERVER_ERRORS else REFUSED_STATUS
    return _answer(f"{status} {refusal.label}", headers, verdict.reason)


def _answer(status: str, headers: list[str], body: str) -> bytes:
    content = body.encode()
    lines = [f"HTTP/1.1 {status}", *headers, f"content-length: {len(content)}", "", ""]
    return "\r\n".join(lines).encode() + content


def grpc_timeout_seconds(text: str) -> float | None:
    """The value of a grpc-timeout header in seconds; None when it is absent or malformed."""
    if len(text) < 2 or not text[:-1].isdigit() or text[-1] not in _UNITS:
        return None
    return int(text[:-1]) * _UNITS[text[-1]]
