"""Pure: how an activation ended, and what Envoy is told about it (ext_authz messages).

The text of a refusal is plain: Envoy's connection manager makes it {"error": text} over REST and the
grpc-message over gRPC.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum
from typing import Final

from envoy.config.core.v3 import base_pb2
from envoy.service.auth.v3 import external_auth_pb2

from overbook.gateway.snapshot.names import CLUSTER_HEADER, VERIFIED_HEADER

_GRPC_PERMISSION_DENIED: Final = 7
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


def to_envoy(
    verdict: Verdict, *, grpc_call: bool, verified: bool
) -> external_auth_pb2.CheckResponse:
    """``verified``: the model was just seen to be there, so the server has the last word."""
    response = external_auth_pb2.CheckResponse()
    if isinstance(verdict, Granted):
        response.status.code = 0
        _add(response.ok_response.headers, CLUSTER_HEADER, verdict.cluster)
        if verified:
            _add(response.ok_response.headers, VERIFIED_HEADER, "1")
        else:
            response.ok_response.headers_to_remove.append(VERIFIED_HEADER)
        return response
    response.status.code = _GRPC_PERMISSION_DENIED
    denied = response.denied_response
    denied.status.code = verdict.refusal.http
    denied.body = verdict.reason
    if grpc_call:
        _add(denied.headers, "grpc-status", str(verdict.refusal.grpc))
    if verdict.retry_after > 0:
        _add(denied.headers, "retry-after", str(math.ceil(verdict.retry_after)))
    return response


def _add(headers: object, key: str, value: str) -> None:
    headers.add(  # type: ignore[attr-defined]  # protobuf's repeated field; the package is untyped
        header=base_pb2.HeaderValue(key=key, value=value),
        append_action=base_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )


def grpc_timeout_seconds(text: str) -> float | None:
    """The value of a grpc-timeout header in seconds; None when it is absent or malformed."""
    if len(text) < 2 or not text[:-1].isdigit() or text[-1] not in _UNITS:
        return None
    return int(text[:-1]) * _UNITS[text[-1]]
