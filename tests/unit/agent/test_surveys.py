"""Looks at addresses for the scheduler: in order, each for itself, none for longer than it may."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from overbook.agent.surveys import Surveys, seen
from overbook.artifacts.address import Asked
from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.survey import Survey
from overbook.wire import scheduler_pb2 as pb


@pytest.fixture
def hanging() -> Iterator[threading.Event]:
    """What a disk that hangs waits for; it is well again at the end."""
    end = threading.Event()
    yield end
    end.set()


async def elsewhere(asked: Asked) -> Survey:
    if asked.storage_uri == "s3://bucket/m":
        return Survey(5, "f", "triton")
    if asked.storage_uri == "s3://hangs/m":
        await asyncio.sleep(3600.0)
    trouble = Trouble.UNREACHABLE if asked.storage_uri == "s3://down/m" else Trouble.NOT_FOUND
    raise SourceError(trouble, f"{asked.storage_uri} is {trouble.value}")


def asked_for(*uris: str, number: int = 1) -> pb.Look:
    return pb.Look(id=number, artifacts=[pb.Artifact(storage_uri=each) for each in uris])


async def test_answers_come_in_the_order_of_the_addresses(tmp_path: Path) -> None:
    for number in range(9):
        (tmp_path / f"m{number}").mkdir()
        (tmp_path / f"m{number}" / "model.joblib").write_bytes(b"x" * (number + 1))
    (tmp_path / "empty").mkdir()
    surveys = Surveys(seen, elsewhere)
    names = [f"m{number}" for number in range(9)]
    uris = [str(tmp_path / name) for name in (*names, "empty", "nowhere")]
    answer = await surveys.of(asked_for(*uris, "s3://bucket/m", number=7))
    surveys.close()
    assert answer.id == 7
    *found, empty, nowhere, remote = answer.artifacts
    assert [each.bytes for each in found] == list(range(1, 10))
    assert all(each.fingerprint and not each.error for each in found)
    assert "is empty" in empty.error
    assert "does not exist" in nowhere.error
    assert (remote.bytes, remote.fingerprint, remote.made_for) == (5, "f", "triton")


async def test_what_a_source_cannot_say_now_is_told_apart_from_what_is_not_there() -> None:
    surveys = Surveys(seen, elsewhere, longest_remote=0.05)
    answer = await surveys.of(asked_for("s3://down/m", "s3://empty/m", "s3://hangs/m"))
    surveys.close()
    down, gone, hanging = answer.artifacts
    assert (down.error, down.passing) == ("s3://down/m is unreachable", True)
    assert (gone.error, gone.passing) == ("s3://empty/m is not found", False)
    assert hanging.passing
    assert hanging.error.startswith("looking at s3://hangs/m did not end within 0.05 s")


async def test_a_disk_that_hangs_fails_its_own_address_alone(hanging: threading.Event) -> None:
    def look(asked: Asked) -> Survey | str:
        if asked.storage_uri == "/hangs":
            hanging.wait()
        return Survey(1, "f")

    # Long enough for the others on a busy machine.
    surveys = Surveys(look, elsewhere, longest=1.0)
    answer = await surveys.of(asked_for("/a", "/hangs", "/b", "/c", "/d", "/e"))
    surveys.close()
    errors = [each.error for each in answer.artifacts]
    assert errors.count("") == 5
    assert errors[1].startswith("looking at /hangs did not end within 1 s")


async def test_a_name_that_is_no_text_is_told_all_the_same() -> None:
    surveys = Surveys(lambda asked: "bad \udcff name\0", elsewhere)
    answer = await surveys.of(asked_for("/a"))
    surveys.close()
    assert answer.artifacts[0].error == "bad ? name?"
