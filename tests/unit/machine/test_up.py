"""The order in which `overbook up` stops its parts, whoever ends first. The parts are played."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from overbook.machine import up
from overbook.machine.options import UpOptions
from overbook.machine.up import UpFailed


class Part:
    """Writes down what happens to it. ``ends``: it ends by itself once this is set."""

    def __init__(self, name: str, did: list[str], ends: asyncio.Event) -> None:
        self.name = name
        self.running = 0
        self.serving = asyncio.Event()
        self._did = did
        self._ends = ends

    def leave(self) -> None:
        return

    async def drain(self) -> None:
        self._did.append(f"{self.name} drained")

    async def refuse(self, why: str) -> None:
        self._did.append(f"{self.name} refuses")

    async def run(self) -> None:
        self.serving.set()
        try:
            await self._ends.wait()
            raise RuntimeError("disk full")
        except asyncio.CancelledError:
            # What takes time to stop is waited for.
            await asyncio.sleep(0.01)
            self._did.append(f"{self.name} ended")
            raise


class Played:
    """The three parts in place of the real ones, and what happened to them in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.did: list[str] = []
        self.ends = {name: asyncio.Event() for name in ("scheduler", "gateway", "agents")}
        monkeypatch.setattr(up, "SchedulerPart", self._made("scheduler"))
        monkeypatch.setattr(up, "GatewayPart", self._made("gateway"))
        monkeypatch.setattr(up, "AgentSupervisor", self._made("agents"))
        monkeypatch.setattr(up._Up, "_apply", lambda _: [])
        monkeypatch.setattr(up._Up, "_announce_ready", lambda *_: asyncio.sleep(0))

    def _made(self, name: str) -> Callable[..., Part]:
        return lambda *_, **__: Part(name, self.did, self.ends[name])


async def _run(tmp_path: Path, played: Played, first: str) -> None:
    running = asyncio.create_task(
        up._Up(UpOptions(state_dir=tmp_path, memory=1 << 20), tmp_path / "log").run()
    )
    await asyncio.sleep(0.1)
    played.ends[first].set()
    with pytest.raises(UpFailed, match=f"the {first} ended: disk full"):
        await asyncio.wait_for(running, 5)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        ("scheduler", ["gateway drained", "agents ended", "gateway ended"]),
        ("gateway", ["agents ended", "scheduler drained", "scheduler ended"]),
        (
            "agents",
            ["gateway drained", "gateway ended", "scheduler drained", "scheduler ended"],
        ),
    ],
)
async def test_what_is_left_stops_in_order_when_a_part_ends_by_itself(
    first: str, then: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = Played(monkeypatch)
    await _run(tmp_path, played, first)
    assert played.did == then
