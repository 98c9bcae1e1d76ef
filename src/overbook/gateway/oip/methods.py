"""The official names of the gRPC services, and which status says which refusal. No handlers here."""

from __future__ import annotations

from typing import Final

import grpc

from overbook.gateway.oip.errors import NoAnswer, NotAvailable, UnknownModel

SERVICE: Final = "inference.GRPCInferenceService"
# MLServer serves the repository calls under this name as well, with the same fields.
REPOSITORY_SERVICE: Final = "inference.model_repository.ModelRepositoryService"
STREAM_METHOD: Final = f"/{SERVICE}/ModelStreamInfer"


def status_of(refusal: NoAnswer) -> grpc.StatusCode:
    if isinstance(refusal, UnknownModel):
        return grpc.StatusCode.NOT_FOUND
    if isinstance(refusal, NotAvailable):
        return grpc.StatusCode.UNAVAILABLE
    return grpc.StatusCode.INVALID_ARGUMENT
