"""Concurrent REST and gRPC requests whose every answer is compared with the model's own prediction."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import grpc
import grpc.aio
import httpx
import numpy as np

from overbook.wire import oip_pb2 as oip
from tests.e2e.zoo import TrainedModel

_SECONDS = 90.0


@dataclass(slots=True)
class Tally:
    """What came of the requests. ``failures`` holds the first few in words."""

    answered: int = 0
    failed: int = 0
    failures: list[str] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def fail(self, why: str) -> None:
        self.failed += 1
        if len(self.failures) < 10:
            self.failures.append(why)


class Caller:
    """Both protocols on one port, with connections kept open."""

    def __init__(self, port: int, *, connections: int = 64) -> None:
        limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
        self._http = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", timeout=_SECONDS, limits=limits
        )
        self._channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        self._infer = self._channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=oip.ModelInferRequest.SerializeToString,
            response_deserializer=oip.ModelInferResponse.FromString,
        )

    async def close(self) -> None:
        await self._http.aclose()
        await self._channel.close()

    async def rest(self, model: TrainedModel) -> None:
        """Raises AssertionError on any other answer than the model's own."""
        tensor = {
            "name": "x",
            "datatype": "FP64",
            "shape": list(model.inputs.shape),
            "data": model.inputs.ravel().tolist(),
        }
        response = await self._http.post(
            f"/v2/models/{model.name}/infer", json={"inputs": [tensor]}
        )
        assert response.status_code == 200, (
            f"REST {model.name}: {response.status_code} {response.text[:300]}"
        )
        body = response.json()
        assert body["model_name"] == model.name
        _same(model, body["outputs"][0]["data"])

    async def grpc(self, model: TrainedModel) -> None:
        """Raises AssertionError on any other answer than the model's own."""
        request = oip.ModelInferRequest(model_name=model.name)
        tensor = request.inputs.add(name="x", datatype="FP64", shape=model.inputs.shape)
        tensor.contents.fp64_contents.extend(model.inputs.ravel())
        try:
            answer = await self._infer(request, timeout=_SECONDS)
        except grpc.aio.AioRpcError as error:
            raise AssertionError(f"gRPC {model.name}: {error.code()} {error.details()}") from None
        assert answer.model_name == model.name
        if answer.raw_output_contents:  # Triton's form
            _same(model, np.frombuffer(answer.raw_output_contents[0], np.float64).tolist())
            return
        contents = answer.outputs[0].contents
        _same(model, list(contents.int64_contents) or list(contents.fp64_contents))


def _same(model: TrainedModel, data: Sequence[float]) -> None:
    got = np.asarray(data).ravel()
    expected = model.expected.ravel()
    assert got.shape == expected.shape, f"{model.name}: {got} instead of {expected}"
    assert np.allclose(got, expected, rtol=1e-9, atol=0), (
        f"{model.name}: {got} instead of {expected}"
    )


def zipf_sequence(models: int, requests: int, *, alpha: float, seed: int) -> list[int]:
    """Indices of models; which one is popular has nothing to do with its number."""
    random = np.random.default_rng(seed)
    weights = 1.0 / np.arange(1, models + 1) ** alpha
    ranks = random.permutation(models)
    drawn = random.choice(models, size=requests, p=weights / weights.sum())
    return [int(ranks[each]) for each in drawn]


async def run_all(
    jobs: Sequence[Callable[[], Awaitable[None]]], *, concurrency: int, tally: Tally | None = None
) -> Tally:
    """Run every job, so many at a time; failures are counted, not raised."""
    tally = tally if tally is not None else Tally()
    queue = iter(jobs)

    async def work() -> None:
        for job in queue:
            began = time.perf_counter()
            try:
                await job()
            except (AssertionError, httpx.HTTPError) as error:
                tally.fail(f"{type(error).__name__}: {error}")
            else:
                tally.answered += 1
            tally.seconds.append(time.perf_counter() - began)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(concurrency):
            tasks.create_task(work())
    return tally


async def skewed(
    port: int, models: Sequence[TrainedModel], requests: int, *, concurrency: int, alpha: float
) -> Tally:
    """So many requests, over both protocols in turn, to models of which some are popular."""
    caller = Caller(port)
    sequence = zipf_sequence(len(models), requests, alpha=alpha, seed=5)
    jobs = [
        partial(caller.rest if number % 2 else caller.grpc, models[chosen])
        for number, chosen in enumerate(sequence)
    ]
    try:
        return await run_all(jobs, concurrency=concurrency)
    finally:
        await caller.close()
