"""What passes from one hop to the next when the gateway carries a call of gRPC: metadata, deadline, the name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import grpc

from overbook.gateway.oip.answers import Answers
from overbook.gateway.oip.model_name import check_name
from overbook.gateway.snapshot.names import SELDON_HEADER

# Set anew on each hop, or ours alone to set: a client's own must not pass.
_DROPPED_PREFIXES: Final = (":", "grpc-", "x-overbook-", "x-envoy-")
_DROPPED_KEYS: Final = frozenset(
    {"content-type", "te", "user-agent", "host", "server", "date"}
    # A model is code, and might use its client's token.
    | {"authorization"}
)
# gRPC rounds a timeout up by as much as a hundredth at every hop, on the way to us and from us: without this the
# server would work on after its client gave up.
_TIMEOUT_SHARE: Final = 0.98

Metadata = tuple[tuple[str, str | bytes], ...]


def forwarded(metadata: Iterable[tuple[str, str | bytes]] | None) -> Metadata:
    """The metadata that passes from one hop to the next."""
    return tuple(
        (key, value)
        for key, value in metadata or ()
        if key not in _DROPPED_KEYS and not key.startswith(_DROPPED_PREFIXES)
    )


def remaining(context: grpc.aio.ServicerContext[Any, Any]) -> float | None:
    """Seconds that the next hop has; None: as long as it takes."""
    left = context.time_remaining()
    return None if left is None else left * _TIMEOUT_SHARE


def check(name: str, metadata: Metadata, answers: Answers) -> None:
    """Whether a message may name this model. Raises NoAnswer if it is unknown or a header contradicts."""
    headers = [value for key, value in metadata if key == SELDON_HEADER and isinstance(value, str)]
    # As Envoy has it, where there are several.
    check_name(name, ",".join(headers) if headers else None)
    answers.model(name)
