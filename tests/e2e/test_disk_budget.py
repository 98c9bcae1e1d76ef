"""The cache on its disk: too little room for all, folders that people remove, files that models change, no space."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.away import Away, Disk, remote
from tests.e2e.everywhere import content
from tests.e2e.process import model_manifest, oip_error, server_manifest, wait_until
from tests.e2e.steady import Asker, Steady
from tests.e2e.traffic import skewed
from tests.e2e.zoo import TrainedModel, train
from tests.small_disk import fill, small_disk
from tests.stores.s3 import S3Store, rclone_s3

# Two of these failed on a busy machine, and why is not known yet: they count again when it is.

BUCKET = "shelf"
MB = 1_000_000
# Folders, and what of a file's last block is empty.
BESIDES = 1 * MB
_RUDE = '''
import os, pathlib
from mlserver import MLModel
from mlserver.codecs import decode_args
import numpy as np

class Rude(MLModel):
    """Writes over a file that is not its own."""

    async def load(self) -> bool:
        return True

    @decode_args
    async def predict(self, x: np.ndarray) -> np.ndarray:
        victim = pathlib.Path({victim!r})
        victim.parent.chmod(0o700)
        victim.chmod(0o600)
        before = victim.stat()
        data = victim.read_bytes()
        victim.write_bytes(bytes(len(data)))
        os.utime(victim, ns=(before.st_atime_ns, before.st_mtime_ns))
        return x
'''


@pytest.fixture(scope="module")
def store(home: Path) -> Iterator[S3Store]:
    with rclone_s3(home / "s3") as made:
        yield made


def put(store: S3Store, model: TrainedModel) -> str:
    store.put(BUCKET, f"{model.name}/model.joblib", content(model))
    return f"s3://{BUCKET}/{model.name}"


def manifest(store: S3Store, model: TrainedModel, **spec: object) -> dict[str, object]:
    return remote(model, put(store, model), secretName="shelf", **spec)


def test_more_models_than_disk_and_more_disk_than_memory(home: Path, store: S3Store) -> None:
    models = [train(home / "zoo", f"model-{n:02}", megabytes=1.5, seed=n) for n in range(40)]
    manifests = [manifest(store, each, memory="2Mi") for each in models]
    size = max(each.bytes for each in models)
    with Away(home / "up", "--cache-size", str(10 * size)) as running:
        running.set_secret("shelf", "s3", store.remote(), "s3")
        with Disk(running.cache) as disk:
            done = running.apply(
                server_manifest("8Mi", overcommitPercentage=2000), *manifests, wait=True
            )
            assert done.code == 0, done.err
            tally = asyncio.run(skewed(running.port, models, 600, concurrency=12, alpha=0.8))
            states = running.states()
        assert tally.failures == []
        assert tally.answered == 600
        assert disk.most <= 10 * size + BESIDES, (disk.most, 10 * size)
        assert disk.most > 8 * size
        assert len(running.artifacts()) <= 10
        assert set(states) == {each.name for each in models}
        here = sum(each.bytes for each in models if is_here(running, each))
        wait_until("it tells", lambda: running.replicas()[0]["disk"]["used"] == here)
        assert running.replicas()[0]["disk"]["budget"] == 10 * size
        told = running.run("describe", "server", "mlserver").out
        assert re.search(r"mlserver/0: files: 14\S*MiB of 14\S*MiB used", told), told


def is_here(running: Away, model: TrainedModel) -> bool:
    return any(has(each, model) for each in running.artifacts())


def has(folder: Path, model: TrainedModel) -> bool:
    file = folder / "model.joblib"
    return file.stat().st_size == model.bytes and file.read_bytes() == content(model)


@pytest.fixture(scope="module")
def running(home: Path, store: S3Store) -> Iterator[Away]:
    with Away(home / "up-2") as made:
        made.set_secret("shelf", "s3", store.remote(), "s3")
        # Memory for few of them, so that they come and go.
        assert made.apply(server_manifest("8Mi", overcommitPercentage=2000)).code == 0
        yield made


def test_what_somebody_removes_is_fetched_again(home: Path, running: Away, store: S3Store) -> None:
    models = [train(home / "zoo", f"removed-{n}", megabytes=1.5, seed=n) for n in range(6)]
    done = running.apply(*(manifest(store, each, memory="2Mi") for each in models))
    assert done.code == 0, done.err
    assert len(running.artifacts()) == len(models)
    with Steady(running.port, models[0]):
        # One that is not in memory, or else nobody needs its files.
        assert running.run("evict", models[-1].name).code == 0
        shutil.rmtree(next(each for each in running.artifacts() if has(each, models[-1])))
        running.assert_right(*models, *models)
        assert len(running.artifacts()) == len(models)
        shutil.rmtree(running.cache)
        running.assert_right(*models, *models)
        # Those that are in memory need none.
        assert running.artifacts()
    running.restarted()
    running.assert_right(*models)
    failures = [each for each in running.events("") if each["reason"] == "ArtifactFailed"]
    assert failures == []


def test_files_are_for_their_user_alone(home: Path, running: Away, store: S3Store) -> None:
    model = train(home / "zoo", "private", megabytes=0.2, seed=8)
    assert running.apply(manifest(store, model)).code == 0
    for where, folders, files in os.walk(running.cache):
        for name in folders:
            assert mode(Path(where, name)) in (0o500, 0o700), (where, name)
        for name in files:
            wanted = (0o400, 0o500) if len(Path(where).name) == 40 else (0o600,)
            assert mode(Path(where, name)) in wanted, (where, name, oct(mode(Path(where, name))))
    assert mode(running.cache) == 0o700


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_another_models_code_wrote_over_is_seen_at_the_next_load(
    home: Path, running: Away, store: S3Store
) -> None:
    victim = train(home / "zoo", "victim", megabytes=1, seed=9)
    before = set(running.artifacts())
    assert running.apply(manifest(store, victim, memory="2Mi")).code == 0
    [folder] = set(running.artifacts()) - before
    rude = home / "rude"
    rude.mkdir()
    (rude / "model.py").write_text(_RUDE.format(victim=str(folder / "model.joblib")))
    (rude / "model-settings.json").write_text(json.dumps({"implementation": "model.Rude"}))
    done = running.apply(model_manifest("rude", rude, requirements=["mlserver"], memory="1Mi"))
    assert done.code == 0, done.err
    with Asker(running.port, "rude", victim.inputs) as asker:
        response = asker.rest()
        assert response.status_code == 200, response.text
    assert (folder / "model.joblib").read_bytes() != content(victim)
    assert running.run("evict", "victim").code == 0
    running.assert_right(victim)
    assert "ArtifactDamaged" in [each["reason"] for each in running.events("victim")]
    assert (folder / "model.joblib").read_bytes() == content(victim)


def test_a_full_disk_refuses_the_new_and_loses_nothing(home: Path, store: S3Store) -> None:
    small = [train(home / "zoo", f"small-{n}", megabytes=1, seed=n) for n in range(4)]
    large = train(home / "zoo", "large", megabytes=12, seed=7)
    with Away(home / "up-3") as running:
        # Only the cache is there: state and logs have their own.
        running.stop()
        shutil.rmtree(running.cache)
        running.arguments = ("--cache-size", "1Gi")
        with small_disk(running.cache, "40m") as disk:
            running.start().wait_ready()
            running.set_secret("shelf", "s3", store.remote(), "s3")
            done = running.apply(
                server_manifest("200Mi"), *(manifest(store, each, memory="2Mi") for each in small)
            )
            assert done.code == 0, done.err
            filler = fill(disk)
            assert running.apply(manifest(store, large), wait=False).code == 0
            said = running.wait_for("large", "is full")
            assert any(each.isdigit() for each in said), said
            assert "\n" not in said
            with Asker(running.port, "large", large.inputs) as asker:
                response = asker.rest()
            assert response.status_code == 503
            assert "is full" in oip_error(response)
            for each in small:
                assert running.run("evict", each.name).code == 0
            running.assert_right(*small)
            filler.unlink()
            waited = running.run("wait", "model", "large", "--timeout", "100s")
            assert waited.code == 0, waited.err
            running.assert_right(large, *(replace(each) for each in small))
            running.stop()
