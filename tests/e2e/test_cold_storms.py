"""Many requests at once for models that are cold."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.process import Overbook, model_manifest, server_manifest
from tests.e2e.traffic import Caller, Tally, run_all
from tests.e2e.zoo import TrainedModel

pytestmark = pytest.mark.alone


async def _storm(running: Overbook, models: list[TrainedModel], each: int) -> Tally:
    caller = Caller(running.port, connections=each * len(models))
    jobs = [
        partial(caller.rest, model) if number % 2 else partial(caller.grpc, model)
        for number in range(each)
        for model in models
    ]
    try:
        return await run_all(jobs, concurrency=len(jobs))
    finally:
        await caller.close()


def _loads(running: Overbook, name: str) -> int:
    return int(running.model(name)["status"]["replicas"][0]["loads"])


def test_two_hundred_requests_to_one_cold_model_are_one_load(
    home: Path, sixty_models: list[TrainedModel]
) -> None:
    model = max(sixty_models, key=lambda each: each.bytes)
    with Overbook(home / "one") as running:
        running.apply(server_manifest("200Mi"), model_manifest(model.name, model.folder))
        assert running.run("evict", model.name).code == 0
        before = _loads(running, model.name)
        tally = asyncio.run(_storm(running, [model], 200))
        assert tally.failures == []
        assert tally.answered == 200
        assert _loads(running, model.name) == before + 1


def test_two_hundred_requests_to_twenty_cold_models_that_do_not_all_fit(
    home: Path, sixty_models: list[TrainedModel]
) -> None:
    models = sorted(sixty_models, key=lambda each: each.bytes)[-20:]
    budget = sum(model.bytes for model in models) // 3
    with Overbook(home / "twenty") as running:
        running.apply(
            server_manifest(budget, overcommitPercentage=400),
            *(model_manifest(each.name, each.folder, memory=each.bytes) for each in models),
        )
        for model in models:
            assert running.api.post(f"/api/v1/models/{model.name}/evict").status_code == 200
        assert set(running.states().values()) == {"cold"}
        before = {each.name: running.model(each.name)["status"]["replicas"][0] for each in models}
        tally = asyncio.run(_storm(running, models, 10))
        assert tally.failures == []
        assert tally.answered == 200
        for model in models:
            now = running.model(model.name)["status"]["replicas"][0]
            loads = now["loads"] - before[model.name]["loads"]
            evictions = now["evictions"] - before[model.name]["evictions"]
            # A second load needs an eviction in between.
            assert evictions <= loads <= evictions + 1
