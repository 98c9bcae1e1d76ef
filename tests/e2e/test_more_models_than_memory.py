"""Sixty models, memory for a quarter of them, six thousand skewed requests: every answer is the model's own."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from tests.e2e.process import Overbook, model_manifest, server_manifest
from tests.e2e.traffic import Caller, Tally, run_all, zipf_sequence
from tests.e2e.zoo import TrainedModel

REQUESTS = 6000
AT_ONCE = 16


async def _drive(running: Overbook, models: list[TrainedModel]) -> tuple[Tally, list[int]]:
    caller = Caller(running.port)
    charged: list[int] = []
    sequence = zipf_sequence(len(models), REQUESTS, alpha=0.9, seed=3)
    jobs = [
        partial(caller.rest, models[chosen]) if number % 2 else partial(caller.grpc, models[chosen])
        for number, chosen in enumerate(sequence)
    ]

    async def sample() -> None:
        while True:
            for replica in await asyncio.to_thread(running.replicas):
                charged.append(replica["bytes"]["resident"])
            await asyncio.sleep(0.2)

    sampler = asyncio.create_task(sample())
    try:
        return await run_all(jobs, concurrency=AT_ONCE), charged
    finally:
        sampler.cancel()
        await caller.close()


def test_sixty_models_in_a_quarter_of_their_memory(
    home: Path, sixty_models: list[TrainedModel]
) -> None:
    budget = max(sum(model.bytes for model in sixty_models) // 4, 32_000_000)
    with Overbook(home / "quarter") as running:
        assert running.apply(server_manifest(budget, overcommitPercentage=500)).code == 0
        manifests = [
            model_manifest(model.name, model.folder, memory=model.bytes) for model in sixty_models
        ]
        applied = running.apply(*manifests)
        assert applied.code == 0, applied.err
        before = running.total("evictions")
        tally, charged = asyncio.run(_drive(running, sixty_models))
        assert tally.failures == []
        assert (tally.answered, tally.failed) == (REQUESTS, 0)
        assert running.total("evictions") - before > 300
        assert len(charged) > 10
        assert max(charged) <= budget
        assert all(each["status"]["conditions"][0]["status"] == "True" for each in running.models())
