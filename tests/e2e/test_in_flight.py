"""Requests in flight and constant traffic while models are evicted around them."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from pathlib import Path

import httpx

from tests.e2e.process import Overbook, model_manifest, server_manifest
from tests.e2e.traffic import Caller, run_all
from tests.e2e.zoo import TrainedModel

SLOW = """
import asyncio

from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceResponse


class Slow(MLModel):
    async def load(self):
        return True

    async def predict(self, payload):
        data = NumpyCodec.decode_input(payload.inputs[0])
        await asyncio.sleep(float(data.ravel()[0]))
        return InferenceResponse(
            model_name=self.name, outputs=[NumpyCodec.encode_output("slept", data)]
        )
"""


def slow_model(folder: Path) -> Path:
    """A custom MLServer model that sleeps as many seconds as it is asked to."""
    folder.mkdir(parents=True)
    (folder / "model.py").write_text(SLOW)
    settings = {"name": "slow", "implementation": "model.Slow"}
    (folder / "model-settings.json").write_text(json.dumps(settings))
    return folder


async def _sleep(port: int, seconds: float) -> httpx.Response:
    tensor = {"name": "x", "datatype": "FP64", "shape": [1], "data": [seconds]}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=90) as client:
        return await client.post("/v2/models/slow/infer", json={"inputs": [tensor]})


def test_a_request_in_flight_survives_the_pressure_to_evict_its_model(
    home: Path, sixty_models: list[TrainedModel]
) -> None:
    models = sorted(sixty_models, key=lambda each: each.bytes)[-6:]
    budget = 2 * models[-1].bytes + 10_000_000
    with Overbook(home / "flight") as running:
        applied = running.apply(
            server_manifest(budget, overcommitPercentage=1000),
            model_manifest(
                "slow", slow_model(home / "slow"), requirements=["python"], memory=15_000_000
            ),
            *(model_manifest(each.name, each.folder, memory=each.bytes) for each in models),
        )
        assert applied.code == 0, applied.err

        async def scenario() -> tuple[httpx.Response, list[str]]:
            caller = Caller(running.port)
            slow = asyncio.create_task(_sleep(running.port, 4.0))
            await asyncio.sleep(0.5)
            states = []
            try:
                for number in range(18):
                    tally = await run_all([partial(caller.rest, models[number % 6])], concurrency=1)
                    assert tally.failures == []
                    if not slow.done():
                        found = await asyncio.to_thread(running.states)
                        states.append(found["slow"])
            finally:
                await caller.close()
            return await slow, states

        response, states = asyncio.run(scenario())
        assert response.status_code == 200, response.text
        assert response.json()["outputs"][0]["data"] == [4.0]
        assert states
        assert set(states) <= {"resident", "draining"}
        assert running.total("evictions") > 6


def test_an_eviction_under_constant_traffic_fails_no_request(
    home: Path, sixty_models: list[TrainedModel]
) -> None:
    model = sixty_models[0]
    with Overbook(home / "constant") as running:
        running.apply(server_manifest("100Mi"), model_manifest(model.name, model.folder))

        async def scenario() -> tuple[int, list[str]]:
            caller = Caller(running.port)
            evicted = 0
            jobs = [
                (lambda: caller.rest(model)) if number % 2 else (lambda: caller.grpc(model))
                for number in range(1500)
            ]
            traffic = asyncio.create_task(run_all(jobs, concurrency=8))
            async with httpx.AsyncClient(base_url=str(running.api.base_url), timeout=30) as api:
                while not traffic.done():
                    answer = await api.post(f"/api/v1/models/{model.name}/evict")
                    evicted += answer.status_code == 200
                    await asyncio.sleep(0.05)
            await caller.close()
            tally = await traffic
            assert tally.answered + tally.failed == 1500
            return evicted, tally.failures

        _, failures = asyncio.run(scenario())
        assert failures == []
        assert running.total("loads") >= 1
