"""Servers that somebody else started: used, shown, overcommitted, lost and found again, and never ended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.e2e.by_hand import HandStarted, StockMlserver
from tests.e2e.process import Overbook, wait_until
from tests.e2e.zoo import TrainedModel, train

MEGABYTES = 4.0
COUNT = 6
THEIRS = {"theirs-a", "theirs-b"}


@pytest.fixture(scope="module")
def models(home: Path) -> list[TrainedModel]:
    return [
        train(home / "zoo", f"ours-{number}", megabytes=MEGABYTES, seed=number)
        for number in range(COUNT)
    ]


@pytest.fixture
def theirs(home: Path, models: list[TrainedModel]) -> Iterator[StockMlserver]:
    server = StockMlserver(home / "mlserver")
    for name in THEIRS:
        server.put(name, models[0])
    with server:
        yield server


def manifest(model: TrainedModel, name: str = "") -> dict[str, object]:
    return {
        "apiVersion": "overbook.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": name or model.name},
        "spec": {"storageUri": str(model.folder), "requirements": ["sklearn"], "memory": "4M"},
    }


def apply(overbook: Overbook, *documents: dict[str, object]) -> list[dict[str, Any]]:
    reply = overbook.api.post("/api/v1/apply", json={"documents": documents})
    return list(reply.raise_for_status().json()["results"])


def ask(overbook: Overbook, model: TrainedModel) -> None:
    tensor = {
        "name": "x",
        "shape": list(model.inputs.shape),
        "datatype": "FP64",
        "data": model.inputs.tolist(),
    }
    reply = overbook.data.post(f"/v2/models/{model.name}/infer", json={"inputs": [tensor]})
    assert reply.status_code == 200, reply.text
    np.testing.assert_allclose(reply.json()["outputs"][0]["data"], model.expected.ravel())


def replica(overbook: Overbook) -> dict[str, Any]:
    found = overbook.api.get("/api/v1/servers/theirs").json()["status"]["replicas"]
    return dict(found[0]) if found else {}


def state(overbook: Overbook, name: str) -> str:
    found = overbook.api.get(f"/api/v1/models/{name}").json()["status"]["replicas"]
    return str(found[0]["state"]) if found else "nowhere"


def hot(overbook: Overbook, models: list[TrainedModel]) -> set[str]:
    return {each.name for each in models if state(overbook, each.name) == "resident"}


def ready(overbook: Overbook, name: str) -> bool:
    found = overbook.api.get(f"/api/v1/models/{name}").json()["status"]["conditions"]
    return bool(found) and found[0]["status"] == "True"


def reasons(overbook: Overbook) -> list[str]:
    return [each["reason"] for each in overbook.api.get("/api/v1/events").json()["events"]]


def folders(theirs: HandStarted) -> set[str]:
    return {each.name for each in theirs.repository.iterdir() if each.is_dir()}


def test_a_server_of_somebody_else(
    home: Path, theirs: StockMlserver, models: list[TrainedModel]
) -> None:
    (home / "server.yaml").write_text(
        # Room for three of the six.
        yaml.safe_dump(
            theirs.server("theirs", "12M", overcommitPercentage=100, serverConfig="mlserver")
        )
    )
    overbook = Overbook(home / "overbook", "-f", str(home / "server.yaml"))
    with overbook:
        wait_until("it is connected", lambda: replica(overbook).get("state") == "ready")
        shown = replica(overbook)
        assert [each["name"] for each in shown["foreignModels"]] == ["theirs-a", "theirs-b"]
        assert shown["foreignModels"][0] == {"name": "theirs-a", "state": "ready", "bytes": None}
        assert shown["pid"] == theirs.pid
        wait_until("its memory is seen", lambda: replica(overbook)["bytes"]["process"])

        taken = manifest(models[1], "theirs-a")
        (answer,) = apply(overbook, taken)
        assert "has a model of this name that Overbook did not put there" in answer["error"]

        apply(overbook, *(manifest(each) for each in models))
        wait_until("all are ready", lambda: all(ready(overbook, each.name) for each in models))
        for _ in range(2):
            for model in models:
                ask(overbook, model)
        assert reasons(overbook).count("ModelEvicted") >= 6
        assert replica(overbook)["models"]["resident"] <= 3
        assert theirs.ready("theirs-a")
        assert theirs.ready("theirs-b")

        # Its owner starts it again: what was in use is back, and nobody saw an error.
        theirs.kill()
        theirs.start()
        for model in models:
            ask(overbook, model)
        wait_until("it is connected", lambda: replica(overbook).get("state") == "ready")
        wait_until("the loss is told", lambda: "ServerDied" in reasons(overbook))
        wait_until(
            "only what is hot lies there", lambda: folders(theirs) == hot(overbook, models) | THEIRS
        )
        before = theirs.pid

    assert theirs.pid == before
    assert theirs.live()
    assert theirs.ready("theirs-a")
    assert theirs.ready("theirs-b")

    with Overbook(home / "overbook") as overbook:
        wait_until("all are ready", lambda: all(ready(overbook, each.name) for each in models))
        for model in models:
            ask(overbook, model)
        overbook.api.delete("/api/v1/servers/theirs").raise_for_status()
        wait_until("its folder is its owner's again", lambda: folders(theirs) == THEIRS)
    assert theirs.live()
    assert theirs.ready("theirs-a")
    assert theirs.ready("theirs-b")
