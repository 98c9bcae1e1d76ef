"""What passes from one hop to the next when the gateway carries a call of gRPC: metadata, deadline, the name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import grpc

from overbook.gateway.oip.answers import Answers, BadRequest
from overbook.gateway.oip.model_name import MalformedMessage, model_name
from overbook.gateway.snapshot.names import SELDON_HEADER

# Set anew on each hop, or ours alone to set: a client's own must not pass.
_DROPPED_PREFIXES: Final = (":", "grpc-", "x-overbook-", "x-envoy-")
_DROPPED_KEYS: Final = frozenset({"content-type", "te", "user-agent", "host", "server", "date"})
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


def named(message: bytes) -> str:
    """The model's name in the message, "" where it has none. Raises BadRequest."""
    try:
        return model_name(message)
    except MalformedMessage as error:
        raise BadRequest(f"the message is not a ModelInferRequest: {error}") from None


def check(name: str, metadata: Metadata, answers: Answers) -> None:
    """Whether a message may name this model. Raises NoAnswer if it is unknown or a header contradicts."""
    if not name:
        raise BadRequest("the message has no model_name; set it")
    answers.model(name)
    for key, value in metadata:
        if key == SELDON_HEADER and value != name:
            raise BadRequest(
                f"header {SELDON_HEADER} says {value!r} but the message names model "
                f"{name!r}; send one name in both, or leave the header out"
            )
