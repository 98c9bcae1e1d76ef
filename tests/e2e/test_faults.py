"""Things that break or change while requests come: updates in place, dead processes, pressure on pinned models."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import httpx
import joblib
import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from tests.e2e.process import Overbook, model_manifest, server_manifest, wait_until
from tests.e2e.steady import Asker, Steady, same
from tests.e2e.traffic import Caller, run_all
from tests.e2e.zoo import TrainedModel, train

COUNT = 12


@pytest.fixture(scope="module")
def models(home: Path) -> list[TrainedModel]:
    """Different ones of about 1 MB each."""
    return [
        train(home / "models", f"m{number:02}", megabytes=1.0, seed=number)
        for number in range(COUNT)
    ]


@pytest.fixture(scope="module")
def running(home: Path, models: list[TrainedModel]) -> Iterator[Overbook]:
    """Two server replicas with memory for half of the models."""
    with Overbook(home / "faults") as made:
        applied = made.apply(
            server_manifest(3_500_000, replicas=2, overcommitPercentage=400),
            *(model_manifest(each.name, each.folder, memory=each.bytes) for each in models),
        )
        assert applied.code == 0, applied.err
        yield made


def predictions(path: Path, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(joblib.load(path / "model.joblib").predict(inputs))


def places(running: Overbook, name: str) -> list[int]:
    return [each["replica"] for each in running.model(name)["status"]["replicas"]]


def ask_all(running: Overbook, models: Sequence[TrainedModel], rounds: int = 1) -> list[str]:
    """Every model, over both protocols, eight at a time; what failed."""

    async def asked() -> list[str]:
        caller = Caller(running.port)
        jobs = [
            partial(call, model)
            for _ in range(rounds)
            for model in models
            for call in (caller.rest, caller.grpc)
        ]
        try:
            return (await run_all(jobs, concurrency=8)).failures
        finally:
            await caller.close()

    return asyncio.run(asked())


class Storm(threading.Thread):
    """Asks many models again and again until stopped; ``failures`` has what went wrong."""

    def __init__(self, running: Overbook, models: Sequence[TrainedModel]) -> None:
        super().__init__(name="storm")
        self._running, self._models = running, models
        self._over = threading.Event()
        self.failures: list[str] = []
        self.rounds = 0

    def run(self) -> None:
        while not self._over.is_set():
            self.failures += ask_all(self._running, self._models)
            self.rounds += 1

    def __enter__(self) -> Storm:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


# -- placement on two replicas


def test_two_replicas_are_two_servers_and_share_the_models(
    running: Overbook, models: list[TrainedModel]
) -> None:
    replicas = running.replicas()
    assert [each["replica"] for each in replicas] == [0, 1]
    assert len({each["pid"] for each in replicas}) == 2
    assert len({each["address"]["rest"] for each in replicas}) == 2
    here = [places(running, model.name) for model in models]
    assert all(len(each) == 1 for each in here)
    assert abs(here.count([0]) - here.count([1])) <= 2
    assert ask_all(running, models) == []


# -- updates in place


@contextlib.contextmanager
def one_of_two(
    running: Overbook, model: TrainedModel, after: NDArray[np.float64]
) -> Iterator[list[bool]]:
    """Constant traffic whose every answer is the old model's or, from some moment on, the new one's."""
    seen: list[bool] = []

    def accept(answer: list[float]) -> bool:
        seen.append(same(answer, after))
        return seen[-1] or same(answer, model.expected)

    with Steady(running.port, model, accept=accept, pause=0.002):
        yield seen


def test_an_update_to_other_files_fails_no_request(
    running: Overbook, models: list[TrainedModel], home: Path
) -> None:
    model = train(home / "models", "moving", megabytes=0.1, seed=4)
    other = train(home / "models", "moved", megabytes=0.1, seed=9)
    after = predictions(other.folder, model.inputs)
    assert not same(after, model.expected)
    assert running.apply(model_manifest(model.name, model.folder)).code == 0
    with one_of_two(running, model, after) as seen:
        wait_until("the old answers", lambda: len(seen) > 20)
        applied = running.apply(model_manifest(model.name, other.folder))
        assert applied.code == 0, applied.err
        ready = len(seen)
        wait_until("the new answers", lambda: len(seen) > ready + 50)
    first = seen.index(True)
    assert all(seen[first:]), "old answers after new ones"
    assert all(seen[ready + 2 :]), "old answers although the model was said to be ready"
    assert running.model(model.name)["metadata"]["generation"] == 2
    assert running.run("delete", "model", model.name).code == 0


def test_an_update_of_the_same_files_in_place_fails_no_request(
    running: Overbook, home: Path
) -> None:
    model = train(home / "models", "rewritten", megabytes=0.1, seed=4)
    other = train(home / "models", "rewriter", megabytes=0.1, seed=9)
    after = predictions(other.folder, model.inputs)
    manifest = model_manifest(model.name, model.folder)
    assert running.apply(manifest).code == 0
    with one_of_two(running, model, after) as seen:
        wait_until("the old answers", lambda: len(seen) > 20)
        fresh = model.folder / "fresh"
        shutil.copy(other.folder / "model.joblib", fresh)
        fresh.replace(model.folder / "model.joblib")
        wait_until("more of the old answers", lambda: len(seen) > 50)
        assert not any(seen), "nobody applied it yet"
        applied = running.apply(manifest)
        assert "configured" in applied.out
        assert applied.code == 0, applied.err
        ready = len(seen)
        wait_until("the new answers", lambda: len(seen) > ready + 50)
    assert all(seen[ready + 2 :])
    assert running.run("delete", "model", model.name).code == 0


def test_a_broken_new_version_leaves_the_old_one_serving(running: Overbook, home: Path) -> None:
    model = train(home / "models", "stable", megabytes=0.1, seed=2)
    broken = home / "models" / "broken"
    broken.mkdir()
    (broken / "model.joblib").write_bytes(b"not a pickle")
    assert running.apply(model_manifest(model.name, model.folder)).code == 0
    with Steady(running.port, model, pause=0.002) as steady:
        applied = running.apply(model_manifest(model.name, broken))
        assert applied.code == 1
        before = steady.answers
        wait_until("more answers", lambda: steady.answers > before + 50)
        [condition] = running.model(model.name)["status"]["conditions"]
        assert (condition["status"], condition["reason"]) == ("False", "ModelFailed")
        assert "MLServer" in condition["message"]
        assert "generation 1 serves" in condition["message"]
        applied = running.apply(model_manifest(model.name, model.folder))
        assert applied.code == 0, applied.err
    assert running.run("delete", "model", model.name).code == 0


# -- pressure


def test_a_pinned_model_is_never_evicted(running: Overbook, models: list[TrainedModel]) -> None:
    pinned = models[0]
    assert running.run("pin", pinned.name).code == 0
    assert running.run("activate", pinned.name).code == 0
    before = running.model(pinned.name)["status"]["replicas"][0]
    total = running.total("evictions")
    assert ask_all(running, models[1:], rounds=3) == []
    after = running.model(pinned.name)["status"]["replicas"][0]
    assert after["state"] == "resident"
    assert (after["loads"], after["evictions"]) == (before["loads"], before["evictions"])
    assert running.total("evictions") > total + 10
    assert running.run("unpin", pinned.name).code == 0


# -- dead processes


def kill_server(running: Overbook, replica: int) -> int:
    pid = int(running.replicas()[replica]["pid"])
    os.kill(pid, signal.SIGKILL)
    return pid


def test_a_killed_inference_server_fails_no_request(
    running: Overbook, models: list[TrainedModel]
) -> None:
    hot = models[1]
    [replica] = places(running, hot.name)
    with Steady(running.port, hot, pause=0.002) as steady, Storm(running, models) as storm:
        wait_until("traffic", lambda: storm.rounds >= 1)
        killed = kill_server(running, replica)
        wait_until(
            "another process", lambda: running.replicas()[replica]["pid"] not in (killed, None)
        )
        rounds, answers = storm.rounds, steady.answers
        wait_until("traffic after it", lambda: storm.rounds > rounds + 1)
        wait_until("the hot model", lambda: steady.answers > answers + 50)
    assert storm.failures == []
    assert running.replicas()[replica]["state"] == "ready"
    assert steady.longest < 20


def test_a_model_with_two_replicas_answers_while_one_is_dead(running: Overbook, home: Path) -> None:
    model = train(home / "models", "double", megabytes=0.1, seed=6)
    applied = running.apply(model_manifest(model.name, model.folder, replicas=2))
    assert applied.code == 0, applied.err
    assert places(running, model.name) == [0, 1]
    with Steady(running.port, model, pause=0.002) as steady:
        wait_until("answers", lambda: steady.answers > 50)
        kill_server(running, 0)
        during = steady.answers
        wait_until("answers without the dead one", lambda: steady.answers > during + 50, seconds=2)
        assert running.replicas()[0]["state"] != "ready"
        wait_until("both again", lambda: running.replicas()[0]["state"] == "ready")
    assert steady.longest < 20
    assert running.run("delete", "model", model.name).code == 0


def children(running: Overbook, name: str) -> list[psutil.Process]:
    assert running.process is not None
    family = psutil.Process(running.process.pid).children(recursive=True)
    return [each for each in family if name in " ".join(each.cmdline()[:3])]


def test_a_killed_envoy_comes_back_by_itself(running: Overbook, models: list[TrainedModel]) -> None:
    servers = [each["pid"] for each in running.replicas()]
    [envoy] = children(running, "envoy")
    envoy.kill()
    began = time.monotonic()

    def serves() -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return running.data.get("/v2/health/ready").status_code == 200
        return False

    wait_until("Envoy serves again", serves, seconds=15, pause=0.02)
    assert time.monotonic() - began < 10
    assert ask_all(running, models) == []
    assert [each["pid"] for each in running.replicas()] == servers


def test_a_killed_overbook_leaves_nothing_behind_and_comes_back_with_everything(
    running: Overbook, models: list[TrainedModel]
) -> None:
    assert running.process is not None
    family = psutil.Process(running.process.pid).children(recursive=True)
    assert len(family) >= 3
    running.process.kill()
    running.process.wait()
    _, orphans = psutil.wait_procs(family, timeout=5)
    assert orphans == []

    # Nothing is fetched again: there is nothing to fetch it from.
    away = models[0].folder.parent.with_name("away")
    models[0].folder.parent.rename(away)
    try:
        running.start().wait_ready(60)
        assert sorted(running.states()) == [model.name for model in models]
        assert ask_all(running, models) == []
    finally:
        away.rename(models[0].folder.parent)
    # What was agreed on before is still so: nothing is loaded or copied for an apply of the same.
    applied = running.apply(
        *(model_manifest(each.name, each.folder, memory=each.bytes) for each in models)
    )
    assert applied.code == 0, applied.err
    assert applied.out.count("unchanged") == COUNT


def test_the_agents_survive_a_new_envoy_and_a_new_server_at_once(
    running: Overbook, models: list[TrainedModel]
) -> None:
    [envoy] = children(running, "envoy")
    envoy.kill()
    kill_server(running, 0)
    kill_server(running, 1)

    def answers() -> bool:
        with (
            contextlib.suppress(httpx.HTTPError, AssertionError),
            Asker(running.port, models[3].name, models[3].inputs) as asker,
        ):
            return same(asker.answer(0), models[3].expected)
        return False

    wait_until("answers", answers)
    assert ask_all(running, models) == []
