from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import cast

import pytest

from bench.bare_driver import BareDriver
from overbook.agent.servers.mlserver.repository import RestRepository
from overbook.agent.servers.protocol import ModelRejected


class Repository:
    """Says what it was told, and ends loads when it is let."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.broken: set[str] = set()

    async def load(self, name: str, settings: Mapping[str, object], *, timeout: float) -> None:
        self.calls.append(f"load {name}")
        await self.gate.wait()
        if name in self.broken:
            raise ModelRejected("broken")

    async def unload(self, name: str, *, timeout: float) -> bool:
        self.calls.append(f"unload {name}")
        await asyncio.sleep(0)
        return True


def driver(repository: Repository, budget: int, **sizes: int) -> BareDriver:
    settings: dict[str, dict[str, object]] = {name: {} for name in sizes}
    return BareDriver(cast(RestRepository, repository), settings, sizes, budget)


async def use(bare: BareDriver, *models: str) -> None:
    for model in models:
        async with bare.held(model):
            await asyncio.sleep(0)


async def turns(count: int = 10) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_who_was_used_longest_ago_makes_room() -> None:
    repository = Repository()
    await use(driver(repository, 2, a=1, b=1, c=1), "a", "b", "a", "c")
    assert repository.calls == ["load a", "load b", "unload b", "load c"]


async def test_waiters_share_a_load_and_two_run_at_once() -> None:
    repository = Repository()
    repository.gate.clear()
    bare = driver(repository, 9, a=1, b=1, c=1)
    asking = [asyncio.create_task(use(bare, model)) for model in "aabbc"]
    await turns()
    assert repository.calls == ["load a", "load b"]
    repository.gate.set()
    await asyncio.gather(*asking)
    assert repository.calls == ["load a", "load b", "load c"]


async def test_what_is_in_flight_stays() -> None:
    repository = Repository()
    bare = driver(repository, 1, a=1, b=1)
    async with bare.held("a"):
        asking = asyncio.create_task(use(bare, "b"))
        await turns()
        assert repository.calls == ["load a"]
    await asking
    assert repository.calls == ["load a", "unload a", "load b"]


async def test_a_model_on_its_way_out_comes_back_after_it_left() -> None:
    repository = Repository()
    bare = driver(repository, 1, a=1, b=1)
    await use(bare, "a")
    await asyncio.gather(use(bare, "b"), use(bare, "a"))
    assert repository.calls == ["load a", "unload a", "load b", "unload b", "load a"]


async def test_a_load_that_fails_gives_its_room_back() -> None:
    repository = Repository()
    repository.broken.add("a")
    bare = driver(repository, 1, a=1, b=1)
    with pytest.raises(ModelRejected):
        await use(bare, "a")
    await use(bare, "b")
    assert repository.calls == ["load a", "load b"]
