"""Processes die under load, on Triton and on MLServer: what was in flight is asked again, and others notice nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.e2e.process import Overbook, model_manifest, server_manifest, wait_until
from tests.e2e.steady import Steady
from tests.e2e.triton_models import POISON, UNLUCKY, Client, Load, Multiplier, multiplier
from tests.e2e.zoo import TrainedModel, train

COUNT = 4
# Others may be slowed down by work on two cores, but wait for nobody.
UNDISTURBED = 2.0


@pytest.fixture(scope="module")
def models(home: Path) -> list[Multiplier]:
    return [multiplier(home / "models", f"times{n}", float(n), seconds=0.005) for n in range(2, 6)]


@pytest.fixture(scope="module")
def forest(home: Path) -> TrainedModel:
    return train(home / "models", "forest", megabytes=0.1, seed=5)


@pytest.fixture(scope="module")
def running(home: Path, models: list[Multiplier], forest: TrainedModel) -> Iterator[Overbook]:
    with Overbook(home / "state") as made:
        applied = made.apply(
            server_manifest("200Mi"),
            server_manifest("2Gi", name="triton", serverConfig="triton"),
            model_manifest(forest.name, forest.folder),
            *(
                model_manifest(each.name, each.folder, requirements=["triton", "python"])
                for each in models
            ),
        )
        assert applied.code == 0, applied.err
        with Client(made.port) as client:
            for model in models:
                client.rest(model, 1.0)
        yield made


def replica(running: Overbook, server: str) -> dict[str, Any]:
    found = [each for each in running.servers() if each["metadata"]["name"] == server]
    status: dict[str, Any] = found[0]["status"]["replicas"][0]
    return status


def stub(running: Overbook, model: Multiplier) -> psutil.Process:
    for child in psutil.Process(replica(running, "triton")["pid"]).children():
        with contextlib.suppress(psutil.NoSuchProcess):  # those that were killed before
            if f"/{model.name}/" in " ".join(child.cmdline()):
                return child
    raise AssertionError(f"{model.name} has no process")


def segments(running: Overbook, model: Multiplier) -> Callable[[], list[Path]]:
    """What this server replica has in shared memory, asked later; others on this machine have theirs."""
    (name,) = (each for each in stub(running, model).cmdline() if each.startswith("overbook-"))
    mine = "-".join(name.split("-")[:2])
    return lambda: list(Path("/dev/shm").glob(f"{mine}-*"))


def resident(running: Overbook, *models: Multiplier) -> bool:
    states = running.states()
    return all(states[each.name] == "resident" for each in models)


def restarted(running: Overbook, server: str, before: int) -> bool:
    now = replica(running, server)
    return now["pid"] not in (None, 0, before) and now["state"] == "ready"


def test_the_death_of_one_models_process_fails_no_request(
    running: Overbook, models: list[Multiplier]
) -> None:
    victim, *others = models
    server = replica(running, "triton")["pid"]
    with Load(running.port, models) as load:
        for _ in range(3):
            time.sleep(1)
            dead = stub(running, victim)
            dead.kill()
            wait_until("it is back", lambda: resident(running, victim))
            wait_until(
                "it has another process", lambda gone=dead.pid: _other(running, victim, gone)
            )
        time.sleep(2)
    assert replica(running, "triton")["pid"] == server
    assert max(load.slowest[each.name] for each in others) < UNDISTURBED
    events = running.api.get("/api/v1/events", params={"model": victim.name}).json()["events"]
    assert [each["reason"] for each in events].count("ModelLost") == 3


def _other(running: Overbook, model: Multiplier, gone: int) -> bool:
    try:
        return stub(running, model).pid != gone
    except AssertionError:
        return False


def test_an_idle_model_whose_process_died_comes_back_by_itself(
    running: Overbook, models: list[Multiplier]
) -> None:
    victim = models[1]
    loads = running.model(victim.name)["status"]["replicas"][0]["loads"]
    stub(running, victim).kill()
    wait_until(
        "it was loaded again",
        lambda: running.model(victim.name)["status"]["replicas"][0]["loads"] > loads,
    )
    with Client(running.port) as client:
        began = time.monotonic()
        assert client.rest(victim, 3.0) == [3.0 * victim.factor, victim.factor]
        assert time.monotonic() - began < 1.0


def test_the_death_of_triton_fails_no_request(
    running: Overbook, models: list[Multiplier], forest: TrainedModel
) -> None:
    before = replica(running, "triton")["pid"]
    shared = segments(running, models[0])
    with Load(running.port, models), Steady(running.port, forest) as steady:
        time.sleep(1)
        os.kill(before, signal.SIGKILL)
        wait_until("Triton is back", lambda: restarted(running, "triton", before))
        wait_until("all are back", lambda: resident(running, *models))
        time.sleep(1)
    assert steady.longest < UNDISTURBED
    assert 0 < len(shared()) <= len(models) + 1, "shared memory of the killed server is still there"


def test_the_death_of_mlserver_fails_no_request_and_triton_does_not_notice(
    running: Overbook, models: list[Multiplier], forest: TrainedModel
) -> None:
    before = replica(running, "mlserver")["pid"]
    with Load(running.port, models) as load, Steady(running.port, forest):
        time.sleep(1)
        os.kill(before, signal.SIGKILL)
        wait_until("MLServer is back", lambda: restarted(running, "mlserver", before))
        time.sleep(1)
    assert max(load.slowest.values()) < UNDISTURBED


def test_a_request_that_kills_its_model_is_answered_and_not_tried_for_ever(
    running: Overbook, models: list[Multiplier]
) -> None:
    victim, *others = models
    with Load(running.port, others), Client(running.port) as client:
        answer = client.post(victim.name, POISON)
        assert answer.status_code == 500
        assert "is not healthy" in answer.json()["error"]
        with pytest.raises(AssertionError, match="is not healthy"):
            client.grpc(victim, POISON)
        assert client.rest(victim, 2.0) == [2.0 * victim.factor, victim.factor]
    wait_until("it is back", lambda: resident(running, victim))


def test_an_error_of_a_model_itself_passes_through_and_is_asked_once(
    running: Overbook, models: list[Multiplier]
) -> None:
    model = models[0]
    with Client(running.port) as client:
        answer = client.post(model.name, UNLUCKY)
        assert answer.status_code == 500
        assert "thirteen is unlucky" in answer.json()["error"]
        with pytest.raises(AssertionError, match="thirteen is unlucky"):
            client.grpc(model, UNLUCKY)
    assert resident(running, model)


def test_no_process_outlives_the_agent(running: Overbook, models: list[Multiplier]) -> None:
    """Last: it ends the whole of it."""
    assert running.process is not None
    shared = segments(running, models[0])
    server = psutil.Process(replica(running, "triton")["pid"])
    family = [server, *server.children(recursive=True)]
    assert len(family) > COUNT
    os.kill(running.process.pid, signal.SIGKILL)
    running.process.wait()
    _, alive = psutil.wait_procs(family, timeout=15)
    assert alive == []
    wait_until("no shared memory is left", lambda: not shared())
    running.start().wait_ready()
