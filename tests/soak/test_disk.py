"""Two hundred models in S3, disk for fifty, memory for ten: three thousand requests, and each is answered rightly."""

from __future__ import annotations

import asyncio
import statistics
import time
from pathlib import Path

import pytest

from tests.e2e.away import Away, Disk, remote
from tests.e2e.process import server_manifest
from tests.e2e.traffic import skewed
from tests.e2e.zoo import train
from tests.stores.s3 import moto_s3

pytestmark = pytest.mark.soak

MODELS, ON_DISK, IN_MEMORY = 200, 50, 10
REQUESTS, AT_ONCE = 3000, 16
MB = 1_000_000


def test_two_hundred_models_with_disk_for_fifty_and_memory_for_ten(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = [train(home / "zoo", f"model-{n:03}", megabytes=2, seed=n) for n in range(MODELS)]
    size = max(each.bytes for each in models)
    budget = ON_DISK * size
    with moto_s3(home) as store, Away(home / "up", "--cache-size", str(budget)) as running:
        store.put_folder("zoo", "", home / "zoo")
        running.set_secret("zoo", "s3", store.remote(), "s3")
        with Disk(running.cache) as disk:
            began = time.monotonic()
            done = running.apply(
                server_manifest(IN_MEMORY * size, overcommitPercentage=3000),
                *(
                    remote(each, f"s3://zoo/{each.name}", secretName="zoo", memory=size)
                    for each in models
                ),
            )
            assert done.code == 0, done.err
            registered = time.monotonic() - began
            store.forget()
            began = time.monotonic()
            tally = asyncio.run(
                skewed(running.port, models, REQUESTS, concurrency=AT_ONCE, alpha=0.8)
            )
            asked = time.monotonic() - began
        fetched = sum(each.method == "GET" and ".joblib" in each.path for each in store.requests())
        percentiles = statistics.quantiles(tally.seconds, n=100)
        with capsys.disabled():
            print(
                f"\n{MODELS} models ready in {registered:.1f} s; {REQUESTS} requests in {asked:.1f} s, "
                f"p50 {percentiles[49]:.2f} s, p99 {percentiles[98]:.2f} s; {fetched} objects fetched, "
                f"{running.total('evictions')} evictions; disk at most {disk.most / MB:.1f} MB of {budget / MB:.1f} MB"
            )
        assert tally.failures == []
        assert tally.answered == REQUESTS
        assert disk.most <= budget + MB
        assert running.total("evictions") > 100
        assert fetched > 100
