"""A tritonserver started by hand with two models of its owner's: used beside them, and left as it was."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import yaml

from tests.e2e.by_hand import HandTriton, triton_model
from tests.e2e.process import Overbook, wait_until
from tests.e2e.test_attach import THEIRS, apply, folders, ready, reasons, replica, state

COUNT = 6
NAMES = [f"adds-{number}" for number in range(COUNT)]
INPUT = {"name": "x", "shape": [3], "datatype": "INT32", "data": [1, 2, 3]}


@pytest.fixture(scope="module", autouse=True)
def triton_runtime() -> None:
    subprocess.run([sys.executable, "-m", "overbook", "runtime", "install", "triton"], check=True)


@pytest.fixture(scope="module")
def models(home: Path) -> dict[str, Path]:
    """Folders of models that add their own number."""
    found = {name: home / "zoo" / name for name in NAMES}
    for number, folder in enumerate(found.values()):
        triton_model(folder, number, megabytes=100)
    return found


@pytest.fixture
def theirs(home: Path) -> Iterator[HandTriton]:
    server = HandTriton(home / "triton", sorted(THEIRS))
    for number, name in enumerate(sorted(THEIRS)):
        triton_model(server.repository / name, 100 * (number + 1))
    with server:
        yield server


def manifest(name: str, folder: Path) -> dict[str, object]:
    return {
        "apiVersion": "overbook.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": name},
        "spec": {"storageUri": str(folder), "requirements": ["python"], "memory": "100Mi"},
    }


def ask_all(overbook: Overbook) -> None:
    for number, name in enumerate(NAMES):
        reply = overbook.data.post(f"/v2/models/{name}/infer", json={"inputs": [INPUT]})
        assert reply.status_code == 200, reply.text
        assert reply.json()["outputs"][0]["data"] == [1 + number, 2 + number, 3 + number]


def check_theirs(theirs: HandTriton) -> None:
    assert theirs.live()
    for number, name in enumerate(sorted(THEIRS)):
        assert theirs.infer(name, INPUT) == [each + 100 * (number + 1) for each in (1, 2, 3)]


def log_level(theirs: HandTriton) -> int:
    """As its own port has it."""
    settings = httpx.get(f"http://{theirs.rest}/v2/logging").raise_for_status().json()
    return int(settings["log_verbose_level"])


def up(home: Path) -> Overbook:
    return Overbook(home / "overbook", "-f", str(home / "server.yaml"))


def test_a_triton_of_somebody_else(home: Path, theirs: HandTriton, models: dict[str, Path]) -> None:
    # Room for three of the six beside what the two take.
    server = theirs.server(
        "theirs", "400Mi", overcommitPercentage=100, serverConfig="triton", allow=["log"]
    )
    (home / "server.yaml").write_text(yaml.safe_dump(server))
    with up(home) as overbook:
        wait_until("it is connected", lambda: replica(overbook).get("state") == "ready")
        shown = replica(overbook)
        assert shown["pid"] == theirs.pid
        assert {each["name"] for each in shown["foreignModels"]} == THEIRS
        assert all(each["bytes"] > 5_000_000 for each in shown["foreignModels"])
        assert "ForeignModels" in reasons(overbook)

        (answer,) = apply(overbook, manifest("theirs-a", models["adds-1"]))
        assert "has a model of this name that Overbook did not put there" in answer["error"]

        apply(overbook, *(manifest(name, folder) for name, folder in models.items()))
        wait_until("all are ready", lambda: all(ready(overbook, name) for name in NAMES))
        overbook.data.post("/v2/logging", json={"log_verbose_level": 1}).raise_for_status()
        assert log_level(theirs) == 1
        for _ in range(2):
            ask_all(overbook)
        assert reasons(overbook).count("ModelEvicted") >= 6
        assert replica(overbook)["models"]["resident"] <= 3
        check_theirs(theirs)

        theirs.kill()
        theirs.start()
        ask_all(overbook)
        wait_until("the loss is told", lambda: "ServerDied" in reasons(overbook))
        check_theirs(theirs)
        wait_until("it is told again what it was told", lambda: log_level(theirs) == 1)
        wait_until("only what is hot lies there", lambda: folders(theirs) == hot(overbook) | THEIRS)
        before, pid = hot(overbook), theirs.pid
    check_theirs(theirs)
    assert theirs.pid == pid
    assert all(theirs.ready(name) for name in before), "they stay loaded"

    with up(home) as overbook:
        wait_until("all are ready", lambda: all(ready(overbook, name) for name in NAMES))
        ask_all(overbook)
        overbook.api.delete("/api/v1/servers/theirs").raise_for_status()
        wait_until("its folder is its owner's again", lambda: folders(theirs) == THEIRS)
        check_theirs(theirs)


def hot(overbook: Overbook) -> set[str]:
    return {name for name in NAMES if state(overbook, name) == "resident"}


def test_a_triton_that_does_not_do_as_it_is_told(home: Path) -> None:
    with HandTriton(home / "none", mode="none") as server:
        spec = server.server("theirs", "1Gi", serverConfig="triton")
        (home / "none.yaml").write_text(yaml.safe_dump(spec))
        overbook = Overbook(home / "overbook-none", "-f", str(home / "none.yaml")).start()
        try:
            told = wait_until("it is refused", lambda: _message(overbook))
            assert "start it with --model-control-mode=explicit" in told
        finally:
            overbook.__exit__()
        assert server.live()


def _message(overbook: Overbook) -> str:
    """What the Server's condition says of the mode; "" while it says nothing of it."""
    with contextlib.suppress(httpx.HTTPError):
        reply = overbook.api.get("/api/v1/servers/theirs")
        if reply.status_code == httpx.codes.OK:
            conditions = reply.json()["status"]["conditions"]
            return next(
                (each["message"] for each in conditions if "explicit" in each["message"]), ""
            )
    return ""
