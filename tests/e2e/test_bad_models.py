"""One bad model is alone, whatever it does: the others go on, and it is named."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.misbehaving import TRIGGER, ask, misbehaving
from tests.e2e.process import Overbook, model_manifest, oip_error, server_manifest, wait_until
from tests.e2e.steady import Steady
from tests.e2e.zoo import TrainedModel, train

SILENCE = 5.0


@pytest.fixture(scope="module")
def good(home: Path) -> TrainedModel:
    return train(home / "models", "good", megabytes=0.1, seed=4)


@pytest.fixture(scope="module")
def running(home: Path, good: TrainedModel) -> Iterator[Overbook]:
    with Overbook(home / "bad", "--silence-limit", f"{SILENCE:g}s") as made:
        applied = made.apply(
            server_manifest(200_000_000), model_manifest(good.name, good.folder, memory=good.bytes)
        )
        assert applied.code == 0, applied.err
        yield made


@contextlib.contextmanager
def beside(running: Overbook, good: TrainedModel, *, longest: float = 20.0) -> Iterator[Steady]:
    """A good model in the same process that is asked all the time, of which no request may fail, nor take longer than
    so many seconds.
    """
    with Steady(running.port, good, pause=0.01) as steady:
        wait_until("answers", lambda: steady.answers > 10)
        yield steady
        answers = steady.answers
        wait_until("answers afterwards", lambda: steady.answers > answers + 20)
    assert steady.longest < longest


def plain_restart(running: Overbook, good: TrainedModel) -> float:
    """Seconds for which the good model is away when the process is simply killed, with what runs beside now."""
    with beside(running, good, longest=math.inf) as steady:
        os.kill(running.replicas()[0]["pid"], signal.SIGKILL)
        wait_until("it was away", lambda: steady.longest > 0.5)
    return steady.longest


def bad(running: Overbook, home: Path, name: str, **does: object) -> None:
    """Registered and loaded."""
    folder = misbehaving(home / "models", name, **does)
    manifest = model_manifest(name, folder, memory=1_000_000, requirements=["python"], verify=False)
    applied = running.apply(manifest, wait=False)
    assert applied.code == 0, applied.err
    wait_until(f"{name} is there", lambda: running.model(name)["status"]["replicas"])


def events(running: Overbook, reason: str, name: str = "") -> list[str]:
    found = running.api.get("/api/v1/events").json()["events"]
    return [
        each["message"]
        for each in found
        if each["reason"] == reason and each["name"] in (name, "mlserver")
    ]


def deaths(running: Overbook) -> int:
    return len(events(running, "ServerDied"))


def is_held_back(running: Overbook, name: str, *words: str) -> None:
    """Everybody is told so: the client at once, and people with what to do."""

    def final() -> bool:
        return bool(running.model(name)["status"]["final"])

    wait_until(f"{name} is held back", final, seconds=10)
    began = time.monotonic()
    answer = ask(running.data, name)
    assert answer.status_code == 503, answer.text
    assert time.monotonic() - began < 1.0
    assert "retry-after" not in answer.headers
    told = (
        oip_error(answer),
        running.model(name)["status"]["replicas"][0]["lastError"],
        running.run("get", "models", "-o", "json").out,
        running.run("describe", "model", name).out,
        *events(running, "ModelHeldBack", name)[-1:],
    )
    assert len(told) == 5, "no event"
    for text in told:
        for word in (*words, f"overbook activate {name}"):
            assert word in " ".join(text.split()), text
    assert running.model(name)["status"]["replicas"][0]["state"] == "failed"


def test_a_request_that_ends_the_process_costs_the_others_seconds_and_is_not_begun_a_third_time(
    running: Overbook, good: TrainedModel, home: Path
) -> None:
    bad(running, home, "crasher", at_trigger={"crash": 11})
    assert ask(running.data, "crasher").status_code == 200
    before = deaths(running)
    with beside(running, good):
        for _ in range(12):
            answer = ask(running.data, "crasher", TRIGGER)
            assert answer.status_code == 503
            assert "the inference server died" in oip_error(answer)
            time.sleep(0.2)
    assert deaths(running) - before <= 2
    is_held_back(running, "crasher", "2 times", "while answering a request for it", "signal 11")
    assert "good" not in " ".join(events(running, "ModelSuspected"))


def test_a_person_frees_it_and_so_does_a_change(running: Overbook, home: Path) -> None:
    assert running.run("activate", "crasher").code == 0
    assert ask(running.data, "crasher").status_code == 200
    assert running.run("delete", "model", "crasher").code == 0


def test_a_load_that_ends_the_process_is_tried_twice(
    running: Overbook, good: TrainedModel, home: Path
) -> None:
    before = deaths(running)
    with beside(running, good):
        bad(running, home, "leaver", at_load={"leave": 3})
        answer = ask(running.data, "leaver")
        assert answer.status_code == 503
        is_held_back(running, "leaver", "2 times", "while loading it", "exit code 3")
        for _ in range(10):
            assert ask(running.data, "leaver").status_code == 503
    assert deaths(running) - before <= 2
    assert running.run("delete", "model", "leaver").code == 0


@pytest.mark.alone  # it compares what two moments take, between which nothing else may change
def test_a_model_that_blocks_everybody_is_ended_and_after_the_second_time_held_back(
    running: Overbook, good: TrainedModel, home: Path
) -> None:
    bad(running, home, "blocker", at_trigger={"block_loop": 1000})
    # Silence is noticed within twice the limit. All else is what a killed process takes.
    longest = 2 * SILENCE + 2 * plain_restart(running, good)
    before = deaths(running)
    with beside(running, good, longest=longest):
        for _ in range(2):
            wait_until(
                "it answers", lambda: ask(running.data, "blocker").status_code == 200, seconds=10
            )
            answer = ask(running.data, "blocker", TRIGGER)
            assert answer.status_code == 503
            assert "gave no answer" in oip_error(answer)
    assert deaths(running) - before == 2
    is_held_back(running, "blocker", "2 times", "gave no answer", "model 'blocker'")
    assert any("model 'blocker'" in told for told in events(running, "ServerSilent"))
    assert running.run("delete", "model", "blocker").code == 0


def test_a_slow_model_is_left_alone(running: Overbook, good: TrainedModel, home: Path) -> None:
    bad(running, home, "slow", at_trigger={"block_loop": SILENCE / 2})
    before = deaths(running)
    with beside(running, good):
        for _ in range(3):
            answer = ask(running.data, "slow", TRIGGER)
            assert answer.status_code == 200, answer.text
    assert deaths(running) == before
    assert running.run("delete", "model", "slow").code == 0


def test_sys_exit_is_an_answer(running: Overbook, good: TrainedModel, home: Path) -> None:
    bad(running, home, "polite", at_trigger={"leave_politely": 3})
    before = deaths(running)
    with beside(running, good):
        answer = ask(running.data, "polite", TRIGGER)
        assert answer.status_code == 500
        assert "SystemExit(3)" in oip_error(answer)
    assert deaths(running) == before
    assert running.run("delete", "model", "polite").code == 0


def test_a_model_that_prints_without_end_fills_no_disk_and_can_be_read(
    running: Overbook, good: TrainedModel, home: Path
) -> None:
    bad(
        running,
        home,
        "talker",
        at_trigger={"chatter": 60_000_000},
        at_predict={"fail": "enough\x1b[2J"},
    )
    folder = running.folder / "state" / "agents" / "mlserver-0"
    with beside(running, good):
        for _ in range(2):
            assert ask(running.data, "talker", TRIGGER).status_code == 500
        files = ("server.log", "server.log.1", "server.log.2")
        most = 31 * 2**20  # three files of 10MiB, each cut at the end of a block

        def bounded() -> bool:
            return (folder / files[1]).exists() and most > sum(
                (folder / each).stat().st_size for each in files if (folder / each).exists()
            )

        wait_until("its log is short", bounded)
    said = running.run("logs", "mlserver", "-n", "5")
    assert said.code == 0, said.err
    assert "RuntimeError: enough" in said.out
    of_it = running.run("logs", "model/talker", "-n", "1000").out
    assert "ModelRegistered   model/talker" in of_it
    assert "/v2/models/talker" in of_it
    assert "model/good" not in of_it
    page = running.api.get("/api/v1/servers/mlserver/replicas/0/log", params={"lines": 1}).json()
    assert page["path"] == str(folder / "server.log")
    assert running.run("delete", "model", "talker").code == 0


def test_a_child_that_holds_the_ports_ends_with_the_server(
    running: Overbook, good: TrainedModel, home: Path
) -> None:
    bad(running, home, "forker", at_load={"daemonise": 600}, at_trigger={"leave": 4})
    assert ask(running.data, "forker").status_code == 200
    with beside(running, good) as steady:
        assert ask(running.data, "forker", TRIGGER).status_code == 503
        wait_until("it serves again", lambda: running.replicas()[0]["state"] == "ready")
    assert steady.longest < 15
    assert running.run("delete", "model", "forker").code == 0


def test_an_unload_that_fails_or_does_not_end_is_named_and_costs_nobody_the_process(
    running: Overbook, good: TrainedModel, home: Path
) -> None:
    bad(running, home, "clinging", at_unload={"fail": "not now"})
    before = deaths(running)
    assert ask(running.data, "clinging").status_code == 200
    with beside(running, good):
        assert running.run("evict", "clinging").code == 0
        assert any("not now" in told for told in events(running, "ModelUnloadFailed", "clinging"))
    assert deaths(running) == before
    assert running.run("delete", "model", "clinging").code == 0


def test_a_server_that_somebody_stopped_is_sent_on(running: Overbook, good: TrainedModel) -> None:
    """It can neither answer nor be blamed, so nobody else would ever end the wait."""
    before = deaths(running)
    with beside(running, good):
        [server] = running.replicas()
        os.kill(server["pid"], signal.SIGSTOP)
        wait_until("it is said", lambda: events(running, "ServerContinued"), seconds=4 * SILENCE)
    assert deaths(running) == before
