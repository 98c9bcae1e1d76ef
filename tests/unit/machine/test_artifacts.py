"""The cache that agents of a process share: opened by its options, and as Prometheus sees it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from overbook import metrics
from overbook.artifacts.address import Asked
from overbook.artifacts.secrets.known import SecretPlaces
from overbook.machine.artifacts import export, opened
from overbook.machine.options import ArtifactOptions


def gauges() -> dict[str, float]:
    return {
        of: metrics.CACHE_BYTES.labels(of)._value.get()
        for of in ("used", "coming", "firm", "budget")
    }


async def test_gauges_are_as_the_cache_is(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(bytes(1000))
    options = ArtifactOptions(cache_size=5000)
    async with opened(tmp_path / "state", options, SecretPlaces()) as artifacts:
        await asyncio.sleep(0)
        assert gauges() == {"used": 0, "coming": 0, "firm": 0, "budget": 5000}
        asked = Asked(str(tmp_path / "model.bin"), fingerprint="f")
        async with artifacts.cache.fetched(asked, "a-0"):
            export(artifacts.cache)
            # Of an agent that has not joined nobody knows what it has in memory.
            assert gauges() == {"used": 1000, "coming": 0, "firm": 1000, "budget": 5000}
        assert metrics.FETCH_RATE._value.get() == 0
