"""The mission's example: eleven models of 1 MB, a budget of 10 MB, 20 per cent too many seats."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import partial
from pathlib import Path

import pytest

from tests.e2e.process import Overbook, model_manifest, server_manifest, wait_until
from tests.e2e.traffic import Caller, run_all
from tests.e2e.zoo import TrainedModel, zoo

MB = 1_000_000


@pytest.fixture(scope="module")
def models(home: Path) -> list[TrainedModel]:
    return zoo(home / "zoo", 13, smallest=0.1, largest=0.8)


async def _ask_all(running: Overbook, models: list[TrainedModel]) -> list[str]:
    caller = Caller(running.port)
    try:
        return (await run_all([partial(caller.rest, m) for m in models], concurrency=1)).failures
    finally:
        await caller.close()


def test_eleven_in_ten_and_the_thirteenth_refused_with_numbers(
    home: Path, models: list[TrainedModel]
) -> None:
    manifests = [model_manifest(each.name, each.folder, memory=MB) for each in models]
    with Overbook(home / "eleven") as running:
        assert running.apply(server_manifest(10 * MB, overcommitPercentage=20)).code == 0
        assert running.apply(*manifests[:11]).code == 0
        wait_until(
            "ten resident and one cold",
            lambda: Counter(running.states().values()) == {"resident": 10, "cold": 1},
        )
        assert asyncio.run(_ask_all(running, models[:11])) == []
        wait_until(
            "still ten and one",
            lambda: Counter(running.states().values()) == {"resident": 10, "cold": 1},
        )
        assert running.apply(manifests[11]).code == 0
        refused = running.apply(manifests[12])
        assert refused.code == 1
        condition = running.model(models[12].name)["status"]["conditions"][0]
        assert (condition["status"], condition["reason"]) == ("False", "ScheduleFailed")
        for number in ("1000000", "12000000"):
            assert number in condition["message"].replace(",", "").replace("_", "")
        # Room that comes free is given to the one that waits.
        assert running.run("delete", "model", models[0].name).code == 0
        assert running.run("wait", "model", models[12].name, "--for", "ready").code == 0


def test_without_overcommit_the_eleventh_is_refused(home: Path, models: list[TrainedModel]) -> None:
    manifests = [model_manifest(each.name, each.folder, memory=MB) for each in models]
    with Overbook(home / "exact") as running:
        assert running.apply(server_manifest(10 * MB, overcommitPercentage=0)).code == 0
        assert running.apply(*manifests[:10]).code == 0
        assert running.apply(manifests[10]).code == 1
        reason = running.model(models[10].name)["status"]["conditions"][0]["reason"]
        assert reason == "ScheduleFailed"
