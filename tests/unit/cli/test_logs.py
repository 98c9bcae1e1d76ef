"""`overbook logs`: what it reads, how it follows, and what it keeps from a terminal."""

from __future__ import annotations

from typing import Any

import pytest

from overbook.cli.reading import replicas
from overbook.client.control import ControlClient, LogPage
from tests.unit.cli.conftest import Overbook
from tests.unit.client.fake_overbook import FakeOverbook, event, model, server


def test_logs_of_a_server(overbook: Overbook, fake: FakeOverbook) -> None:
    fake.add(server("mlserver"))
    fake.logs["mlserver/0"] = [["one", "\x1b[31mtwo"]]
    result = overbook("logs", "mlserver", "-n", "5")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "one\n\x1b[31mtwo\n", "what is no terminal gets it as it is"
    assert "lines=5" in fake.requests[-1][1]
    assert overbook("logs", "mlserver/0").stdout == result.stdout


def test_logs_of_several_replicas_say_whose_line_it_is(
    overbook: Overbook, fake: FakeOverbook
) -> None:
    thing = server("mlserver")
    [replica] = replicas(thing)
    status = thing["status"]
    assert isinstance(status, dict)
    status["replicas"] = [replica, {**replica, "replica": 1}]
    fake.add(thing)
    fake.logs["mlserver/1"] = [["one"]]
    result = overbook("logs", "mlserver")
    assert result.exit_code == 1
    assert result.stdout == "mlserver/1 | one\n"
    assert result.stderr == "Error: the agent of mlserver/0 is not connected; try again\n"


def test_logs_of_a_model_begin_with_its_events(overbook: Overbook, fake: FakeOverbook) -> None:
    fake.add(model("iris"), server("mlserver"))
    fake.events = [event(1, "iris")]
    fake.logs["mlserver/0"] = [["Loaded model 'iris'"]]
    first, second = overbook("logs", "model/iris").stdout.splitlines()
    assert first.endswith("ModelLoaded       model/iris on mlserver/0: in 14 ms")
    assert second == "Loaded model 'iris'"
    assert "model=iris" in fake.requests[-1][1]
    fake.events, fake.logs["mlserver/0"] = [], [[]]
    assert overbook("logs", "model/iris").stderr == (
        "nothing about 'iris' in /state/mlserver-0/server.log\n"
    )


def test_logs_that_are_followed(
    overbook: Overbook, fake: FakeOverbook, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.add(server("mlserver"))
    fake.logs["mlserver/0"] = [["one"], ["two"], ["three"], []]
    pages = fake.logs["mlserver/0"]
    log = ControlClient.log

    def until_the_end(client: ControlClient, *args: Any, **named: Any) -> LogPage:
        if len(pages) == 1:
            raise KeyboardInterrupt
        return log(client, *args, **named)

    monkeypatch.setattr(ControlClient, "log", until_the_end)
    result = overbook("logs", "-f", "mlserver")
    assert (result.exit_code, result.stdout) == (0, "one\ntwo\nthree\n")
    assert "after=life%3A7" in fake.requests[-1][1]
    assert "wait=20" in fake.requests[-1][1]


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("iris", "Error: 'iris' is a model, not a server; try `overbook logs model/iris`"),
        ("rose", "Error: server 'rose' is not registered; see `overbook get servers`"),
        ("model/rose", "Error: model 'rose' is not registered; see `overbook get models`"),
        ("a/b", "Error: 'a/b' is not a server; expected SERVER, SERVER/NUMBER or model/NAME"),
        ("model/lost", "Error: model/lost is on no server replica, so it has no log"),
    ],
)
def test_logs_of_what_is_none(
    overbook: Overbook, fake: FakeOverbook, target: str, said: str
) -> None:
    lost = model("lost")
    lost["status"] = {"conditions": [], "final": False, "replicas": []}
    fake.add(model("iris"), lost)
    result = overbook("logs", target)
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", f"{said}\n")
