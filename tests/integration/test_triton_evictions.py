"""Evictions from a real Triton by an agent that gets little time: Triton keeps nothing of the models that left."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import numpy as np
import psutil
import pytest
import pytest_asyncio

from overbook.agent.servers.triton import stubs
from overbook.agent.servers.triton.server import TritonServer
from overbook.agent.servers.triton.stubs import Stub
from tests.conformance.scripted import scripted_model
from tests.fakes.fake_server import Script
from tests.integration import triton_harness as harness
from tests.integration.triton_harness import CALL, Client

MODELS = 4
# A model's process says every 0.3 s that it is well.
LATE_SECONDS = 0.4
RESTLESS = """
import threading

def compute():
    while True:
        pass

threading.Thread(target=compute, daemon=True).start()
"""


@pytest_asyncio.fixture
async def server(tmp_path: Path) -> AsyncIterator[TritonServer]:
    running = harness.server(tmp_path / "state")
    await running.start(timeout=60)
    yield running
    await running.stop(grace=10)
    await running.close()


@pytest.mark.parametrize("late", [False, True])
async def test_an_eviction_leaves_no_thread_in_triton(
    server: TritonServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    kill = stubs.kill

    def kill_late(leaving: Iterable[Stub]) -> None:
        time.sleep(LATE_SECONDS if late else 0.0)  # as if others had the processor meanwhile
        kill(leaving)

    monkeypatch.setattr(stubs, "kill", kill_late)
    client = Client(server.addresses.grpc)

    async def come_and_go(name: str) -> None:
        await server.load(scripted_model(tmp_path, name, Script(answer=7)), timeout=CALL)
        got = await client.infer(name, {"x": np.array([1])})
        assert got["answer"].tolist() == [7]
        await server.unload(name, timeout=CALL, idle=True)

    await come_and_go("first")
    before = await settled_threads(server)
    for number in range(MODELS):
        await come_and_go(f"model-{number}")
    await client.close()
    # Of each model that never ends for Triton three would stay.
    assert await settled_threads(server) < before + MODELS


async def test_a_model_that_computes_by_itself_is_ended_by_triton(
    server: TritonServer, tmp_path: Path
) -> None:
    await server.load(scripted_model(tmp_path, "first", Script()), timeout=CALL)
    await server.unload("first", timeout=CALL, idle=True)
    before = await settled_threads(server)
    model = scripted_model(tmp_path, "restless", Script(answer=7))
    code = model.artifact / "1" / "model.py"
    code.write_text(RESTLESS + code.read_text())
    await server.load(model, timeout=CALL)
    await server.unload(model.name, timeout=CALL, idle=True)
    assert server.pid is not None
    assert stubs.find(server.pid, "models", model.name) == frozenset()
    assert await settled_threads(server) <= before


async def test_an_unload_that_is_given_up_leaves_no_process_stopped(
    server: TritonServer, tmp_path: Path
) -> None:
    assert server.pid is not None
    triton = psutil.Process(server.pid)
    for number, seconds in enumerate((0.0, 0.0005, 0.001, 0.002, 0.004)):
        model = scripted_model(tmp_path, f"model-{number}", Script())
        await server.load(model, timeout=CALL)
        unloading = asyncio.create_task(server.unload(model.name, timeout=CALL, idle=True))
        await asyncio.sleep(seconds)
        unloading.cancel()
        await asyncio.wait({unloading})
    await asyncio.sleep(3.0)  # whichever were unloaded after all are gone
    assert psutil.STATUS_STOPPED not in {each.status() for each in triton.children()}


async def settled_threads(server: TritonServer) -> int:
    """How many it has once Triton has had its second, and more, for each model that left."""
    assert server.pid is not None
    process = psutil.Process(server.pid)
    lowest = process.num_threads()
    for _ in range(15):
        await asyncio.sleep(0.2)
        lowest = min(lowest, process.num_threads())
    return lowest
