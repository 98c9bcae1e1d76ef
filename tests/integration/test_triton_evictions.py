"""Evictions from a real Triton on a machine that has no time: the server outlives them, and keeps nothing of them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import pytest_asyncio

from overbook.agent.servers.protocol import PreparedModel
from overbook.agent.servers.triton import TritonServer
from tests.conformance.scripted import scripted_model
from tests.fakes.fake_server import Script
from tests.integration import triton_harness as harness
from tests.integration.triton_harness import CALL, Client

MODELS = 6
ROUNDS = 10
# Triton keeps some of its threads for later use; one whose model never ends costs three.
SPARE_THREADS = 3


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[TritonServer]:
    running = harness.server(tmp_path / "state")
    await running.start(timeout=60)
    yield running
    await running.stop(grace=10)
    await running.close()


@pytest.fixture
def busy() -> Iterator[None]:
    """More work than the machine has cores for."""
    workers = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"])
        for _ in range(2 * (psutil.cpu_count() or 2))
    ]
    yield
    for each in workers:
        each.kill()
        each.wait()


async def test_an_eviction_leaves_no_thread_in_triton(
    server: TritonServer, busy: None, tmp_path: Path
) -> None:
    client = Client(server.addresses.grpc)
    models = [
        scripted_model(tmp_path, f"model-{answer}", Script(answer=answer))
        for answer in range(MODELS)
    ]

    async def come_and_go(model: PreparedModel, answer: int, rounds: int) -> None:
        for _ in range(rounds):
            await server.load(model, timeout=CALL)
            got = await client.infer(model.name, {"x": np.array([1])})
            assert got["answer"].tolist() == [answer]
            await server.unload(model.name, timeout=CALL, idle=True)

    async def all_of_them(rounds: int) -> None:
        async with asyncio.TaskGroup() as tasks:
            for answer, model in enumerate(models):
                tasks.create_task(come_and_go(model, answer, rounds))

    await all_of_them(rounds=1)
    pid = server.pid
    before = await settled_threads(server)
    await all_of_them(ROUNDS)
    await client.close()
    assert server.pid == pid, "it died and was started again"
    assert await settled_threads(server) <= before + SPARE_THREADS


async def settled_threads(server: TritonServer) -> int:
    """How many it has once Triton has had its second, and more, for each model that left."""
    assert server.pid is not None
    process = psutil.Process(server.pid)
    lowest = process.num_threads()
    for _ in range(20):
        await asyncio.sleep(0.2)
        lowest = min(lowest, process.num_threads())
    return lowest
