"""Fields that the command line reads: each is one that the control API describes."""

from __future__ import annotations

import pytest

from overbook.cli import (
    describing,
    event_lines,
    fetching,
    following,
    reading,
    rows,
    showing,
    sorting,
    waiting,
)
from overbook.client.http import Json, JsonObject, Reply
from tests.unit.cli.conftest import Overbook
from tests.unit.client.fake_overbook import TRANSFER, FakeOverbook, event, model, server
from tests.unit.client.reading import Asked, asked, names_in


def of_replica(thing: JsonObject, **fields: Json) -> JsonObject:
    """The thing with other fields of its one replica."""
    (replica,) = reading.replicas(thing)
    replica.update(fields)
    return thing


def without_a_place(thing: JsonObject) -> JsonObject:
    status = thing["status"]
    assert isinstance(status, dict)
    status["replicas"] = []
    return thing


def with_spec(thing: JsonObject, **fields: Json) -> JsonObject:
    """The thing with fields of a manifest that need not be there."""
    spec = thing["spec"]
    assert isinstance(spec, dict)
    spec.update(fields)
    return thing


def test_every_field_that_is_read_is_described(
    overbook: Overbook, fake: FakeOverbook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fake answers as described, with all fields: what is asked for and is not there is not described."""
    names: set[str] = set()
    json = Reply.json
    monkeypatch.setattr(Reply, "json", lambda reply: asked(json(reply), names))
    foreign: JsonObject = {"name": "theirs", "state": "ready", "bytes": 5}
    fake.events = [event(1, "iris")]
    fake.registered = ["iris"]
    fake.add(
        model("iris"),
        model("broken", ready=False, reason="ModelFailed", message="invalid load key"),
        of_replica(model("doubtful"), unverified="spec.verify is false"),
        without_a_place(model("lost")),
        with_spec(
            of_replica(
                model("remote", ready=False, reason="ModelProgressing"), transfer={**TRANSFER}
            ),
            storageUri="s3://models/remote",
            artifactVersion=3,
            secretName="store",
            refresh="1h",
        ),
        with_spec(
            of_replica(server("mlserver"), foreignModels=[foreign]),
            evictionPolicy="worth",
            allow=["log"],
        ),
    )
    fake.logs["mlserver/0"] = [["a line"]]
    for command in (
        *("get models", "get servers", "get models -o wide", "get servers -o wide"),
        *("describe server mlserver", "events"),
        *("logs mlserver", "logs model/iris", "metadata iris"),
        *(f"get models --sort {each}" for each in sorting.KEYS["model"]),
        *(f"get servers --sort {each}" for each in sorting.KEYS["server"]),
    ):
        assert overbook(*command.split()).exit_code == 0, command
    for name in ("iris", "broken", "doubtful", "lost", "remote"):
        assert overbook("describe", "model", name).exit_code == 0
        overbook("wait", "model", name, "--timeout", "10ms")
    readers = (
        *(reading, rows, describing, fetching, waiting),
        *(event_lines, showing, sorting, following),
    )
    untested = {name for each in readers for name in names_in(each)} - names
    assert untested == set(), "nobody asked for these here"


def test_a_field_that_is_not_there_is_seen() -> None:
    names: set[str] = set()
    thing = asked({"bytes": {"charged": 1}}, names)
    assert isinstance(thing, Asked)
    assert reading.at(thing, "bytes", "charged") == 1
    assert names == {"bytes", "charged"}
    with pytest.raises(AssertionError, match="'chraged' is asked for"):
        reading.at(thing, "bytes", "chraged")
