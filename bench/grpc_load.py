"""Inference requests over gRPC, one after the other on one connection, as a Python client sends them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import grpc

from bench.errors import BenchFailed
from overbook.wire import oip_pb2

SERVICE: Final = "/inference.GRPCInferenceService/"
_SECONDS: Final = 30.0


def request(model: str, row: Sequence[float]) -> oip_pb2.ModelInferRequest:
    """One row of numbers."""
    message = oip_pb2.ModelInferRequest(model_name=model)
    tensor = message.inputs.add(name="predict", datatype="FP64", shape=[1, len(row)])
    tensor.contents.fp64_contents.extend(row)
    return message


def latencies(
    target: str,
    message: oip_pb2.ModelInferRequest,
    *,
    seconds: float,
    compression: grpc.Compression = grpc.Compression.NoCompression,
) -> list[float]:
    """Milliseconds of each call. Raises BenchFailed on any failure."""
    taken: list[float] = []
    with grpc.insecure_channel(target, compression=compression) as channel:
        infer: grpc.UnaryUnaryMultiCallable[
            oip_pb2.ModelInferRequest, oip_pb2.ModelInferResponse
        ] = channel.unary_unary(
            f"{SERVICE}ModelInfer",
            request_serializer=oip_pb2.ModelInferRequest.SerializeToString,
            response_deserializer=oip_pb2.ModelInferResponse.FromString,
        )
        try:
            infer(message, timeout=_SECONDS)
            end = time.perf_counter() + seconds
            while (began := time.perf_counter()) < end:
                infer(message, timeout=_SECONDS)
                taken.append((time.perf_counter() - began) * 1000)
        except grpc.RpcError as error:
            raise BenchFailed(f"gRPC to {message.model_name}: {error}") from None
    return taken
