"""Memory for all, disk for some: idle models leave memory when their files are in the way of others."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.away import Away, Disk, remote
from tests.e2e.everywhere import content
from tests.e2e.process import oip_error, server_manifest
from tests.e2e.steady import Asker, Steady
from tests.e2e.traffic import skewed
from tests.e2e.zoo import TrainedModel, train
from tests.stores.s3 import S3Store, moto_s3

BUCKET = "room"
MB = 1_000_000
# Folders, and what of a file's last block is empty.
BESIDES = 1 * MB


@pytest.fixture(scope="module")
def store(home: Path) -> Iterator[S3Store]:
    with moto_s3(home) as made:
        made.make_bucket(BUCKET)
        yield made


def manifest(store: S3Store, model: TrainedModel, **spec: object) -> dict[str, object]:
    store.put(BUCKET, f"{model.name}/model.joblib", content(model))
    return remote(model, f"s3://{BUCKET}/{model.name}", secretName="room", **spec)


def evicted(running: Away, cause: str) -> float:
    """How many models left memory for that."""
    found = re.findall(
        rf'^overbook_evictions_total{{[^}}]*cause="{cause}"[^}}]*}} (\S+)$',
        running.api.get("/metrics").text,
        re.MULTILINE,
    )
    return sum(map(float, found))


def test_memory_for_fifty_models_and_disk_for_ten(
    home: Path, store: S3Store, capsys: pytest.CaptureFixture[str]
) -> None:
    models = [train(home / "zoo", f"model-{n:02}", megabytes=1, seed=n) for n in range(60)]
    manifests = [manifest(store, each, memory="2Mi") for each in models]
    budget = 10 * max(each.bytes for each in models)
    with Away(home / "up", "--cache-size", str(budget)) as running:
        running.set_secret("room", "s3", store.remote(), "s3")
        with Disk(running.cache) as disk:
            done = running.apply(
                server_manifest("100Mi", overcommitPercentage=2000), *manifests, wait=True
            )
            assert done.code == 0, done.err
            tally = asyncio.run(skewed(running.port, models, 1000, concurrency=12, alpha=0.8))
        with capsys.disabled():
            slowest = sorted(tally.seconds)
            print(
                f"\n{tally.answered} requests, p50 {slowest[500]:.2f} s, p99 {slowest[990]:.2f} s, the slowest "
                f"{slowest[-1]:.1f} s; {evicted(running, 'disk'):.0f} evictions for the disk of "
                f"{running.total('evictions')}; disk at most {disk.most / MB:.1f} MB of {budget / MB:.1f} MB"
            )
        assert tally.failures == []
        assert tally.answered == 1000
        assert disk.most <= budget + BESIDES
        assert evicted(running, "disk") > 50
        # What is in memory is served without a word to the store, however little of the disk there is.
        running.assert_right(*models[:3])


@pytest.mark.parametrize("replicas", [1, 2])
def test_files_of_models_on_other_replicas_make_room_too(
    home: Path, store: S3Store, replicas: int
) -> None:
    """Those of another Server's alone, and those that two replicas have in memory at the same time."""
    names = [f"shared-{replicas}-{n}" for n in range(6)]
    models = [train(home / "zoo", each, megabytes=1, seed=n) for n, each in enumerate(names)]
    budget = 4 * max(each.bytes for each in models)
    with Away(home / f"up-{replicas}", "--cache-size", str(budget)) as running:
        running.set_secret("room", "s3", store.remote(), "s3")
        servers = [
            server_manifest("60Mi", name="left", overcommitPercentage=2000, replicas=replicas),
            server_manifest("60Mi", name="right", overcommitPercentage=2000),
        ]
        there = {"server": "left", "replicas": replicas, "memory": "2Mi"}
        here = {"server": "right", "memory": "2Mi"}
        done = running.apply(*servers, *(manifest(store, each, **there) for each in models[:4]))
        assert done.code == 0, done.err
        # All of the disk is of what is in memory on the left, mostly on both replicas.
        for _ in range(4):
            running.assert_right(*models[:4])
        done = running.apply(*(manifest(store, each, **here) for each in models[4:]))
        assert done.code == 0, done.err
        for _ in range(3):
            running.assert_right(*models[4:], *models[:4])
        assert evicted(running, "disk") > 0


def test_models_that_are_asked_without_a_pause_do_not_keep_the_disk_for_themselves(
    home: Path, store: S3Store
) -> None:
    models = [train(home / "zoo", f"hot-{n}", megabytes=1, seed=n) for n in range(7)]
    budget = 3 * max(each.bytes for each in models)
    with Away(home / "up-hot", "--cache-size", str(budget)) as running:
        running.set_secret("room", "s3", store.remote(), "s3")
        done = running.apply(
            server_manifest("100Mi"), *(manifest(store, each, memory="2Mi") for each in models)
        )
        assert done.code == 0, done.err
        hot, others = models[:3], models[3:]
        running.assert_right(*hot)
        with contextlib.ExitStack() as steady:
            for each in hot:
                steady.enter_context(Steady(running.port, each))
            for _ in range(2):
                running.assert_right(*others)
            # More of them at once than the disk has room for.
            tally = asyncio.run(skewed(running.port, others, 60, concurrency=12, alpha=0.1))
            assert tally.failures == []


def test_what_is_pinned_stays_and_is_told_where_nothing_else_could_leave(
    home: Path, store: S3Store
) -> None:
    models = [train(home / "zoo", f"pinned-{n}", megabytes=1, seed=n) for n in range(4)]
    budget = 3 * max(each.bytes for each in models) + MB // 2
    with Away(home / "up-pinned", "--cache-size", str(budget)) as running:
        running.set_secret("room", "s3", store.remote(), "s3")
        first = [manifest(store, each, memory="2Mi", pinned=True) for each in models[:2]]
        done = running.apply(
            server_manifest("100Mi"), *first, manifest(store, models[2], memory="2Mi")
        )
        assert done.code == 0, done.err
        running.assert_right(*models[:3])
        done = running.apply(manifest(store, models[3], memory="2Mi", activationTimeout="8s"))
        assert done.code == 0, done.err
        # Two of them have one place on the disk, and take it in turn.
        for _ in range(3):
            running.assert_right(models[2], models[3], *models[:2])
        assert running.run("pin", models[2].name).code == 0
        running.assert_right(models[2])
        with Asker(running.port, models[3].name, models[3].inputs) as asker:
            response = asker.rest()
        assert response.status_code == 503
        assert "no room on disk" in oip_error(response)
        assert f"{models[2].name} (pinned)" in oip_error(response)
        running.assert_right(*models[:3])
