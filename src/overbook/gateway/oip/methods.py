"""The official names of the gRPC services, and which status says which refusal. No handlers here."""

from __future__ import annotations

from typing import Final

import grpc

from overbook.gateway.oip.errors import (
    NoAnswer,
    NoSuchCall,
    NotAllowed,
    NotAvailable,
    TooLarge,
    UnknownModel,
    UnknownRegion,
)
from overbook.gateway.oip.surface import SERVICE

STREAM_METHOD: Final = f"/{SERVICE}/ModelStreamInfer"
_STATUS: Final = {
    UnknownRegion: grpc.StatusCode.NOT_FOUND,
    UnknownModel: grpc.StatusCode.NOT_FOUND,
    NotAvailable: grpc.StatusCode.UNAVAILABLE,
    NotAllowed: grpc.StatusCode.PERMISSION_DENIED,
    TooLarge: grpc.StatusCode.RESOURCE_EXHAUSTED,
    NoSuchCall: grpc.StatusCode.UNIMPLEMENTED,
}


def status_of(refusal: NoAnswer) -> grpc.StatusCode:
    """What a client of gRPC is told; INVALID_ARGUMENT for a bad request."""
    return _STATUS.get(type(refusal), grpc.StatusCode.INVALID_ARGUMENT)
