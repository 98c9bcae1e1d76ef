"""Files of an agent that cannot be used: what was learned is lost, and said to be; models are served all the same."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.process import Overbook, model_manifest, server_manifest, wait_until
from tests.e2e.steady import Asker, same
from tests.e2e.zoo import TrainedModel, train
from tests.small_disk import fill, small_disk

LEARNED = ("sizes.db", "proven.db", "../../cache/index.db")


@pytest.fixture(scope="module")
def model(home: Path) -> TrainedModel:
    return train(home / "models", "good", megabytes=0.2, seed=1)


@contextlib.contextmanager
def started_before(folder: Path, model: TrainedModel) -> Iterator[Overbook]:
    """It served the model, and was stopped."""
    running = Overbook(folder)
    with running:
        applied = running.apply(server_manifest("100Mi"), model_manifest("good", model.folder))
        assert applied.code == 0, applied.err
    yield Overbook(folder)


@contextlib.contextmanager
def starting(running: Overbook) -> Iterator[None]:
    """Started, and perhaps never ready; stopped in the end."""
    running.start()
    try:
        yield
    finally:
        running.__exit__()


def agent_of(running: Overbook) -> Path:
    [folder] = (running.folder / "state" / "agents").iterdir()
    return folder


def said(running: Overbook, reason: str) -> list[str]:
    """The messages of all events with that reason; none before it listens."""
    with contextlib.suppress(httpx.ConnectError):
        found = running.api.get("/api/v1/events").json()["events"]
        return [str(event["message"]) for event in found if event["reason"] == reason]
    return []


def in_place_of(path: Path) -> None:
    """A folder with something in it that is somebody's."""
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    path.mkdir()
    (path / "mine").write_text("mine")


def test_folders_in_place_of_what_was_learned(home: Path, model: TrainedModel) -> None:
    with started_before(home / "learned", model) as again:
        agent = agent_of(again)
        for name in LEARNED:
            in_place_of((agent / name).resolve())
        with again, Asker(again.port, "good", model.inputs) as asker:
            assert same(asker.answer(0), model.expected)
            told = wait_until("events", lambda: said(again, "StateNotKept"), seconds=10)
            for name in LEARNED:
                assert any(
                    str((agent / name).resolve()) in line and "folder" in line for line in told
                )
                assert (agent / name / "mine").read_text() == "mine"


def test_a_folder_in_place_of_the_log(home: Path, model: TrainedModel) -> None:
    with started_before(home / "log", model) as again:
        [log] = agent_of(again).rglob("server.log")
        in_place_of(log)
        with starting(again):
            told = wait_until("events", lambda: said(again, "ServerStartFailed"), seconds=30)
            assert str(log) in told[-1]
            assert "remove what is in its place" in told[-1]
            (log / "mine").unlink()
            log.rmdir()
            again.wait_ready()
            with Asker(again.port, "good", model.inputs) as asker:
                assert same(asker.answer(0), model.expected)


def test_a_start_on_a_full_disk(home: Path, model: TrainedModel) -> None:
    with small_disk(home / "disk", "16m") as disk, started_before(disk / "up", model) as again:
        agent = agent_of(again)
        for name in ("sizes.db", "proven.db"):
            (agent / name).unlink()
        filler = fill(disk)
        with starting(again):
            told = wait_until(
                "events",
                lambda: said(again, "StateNotKept") + said(again, "ServerStartFailed"),
                seconds=60,
            )
            assert any("disk" in line.lower() or "space" in line for line in told)
            filler.unlink()
            again.wait_ready()
            with Asker(again.port, "good", model.inputs) as asker:
                assert same(asker.answer(0), model.expected)
