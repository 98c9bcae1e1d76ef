"""Thirty bad models beside ten good ones in one MLServer, for minutes: the good lose nothing, the bad are named.

``OVERBOOK_SOAK_BAD_MINUTES``: how long, default 10 (or `OVERBOOK_SOAK_MINUTES`, when that is less).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import pytest

from tests.e2e.misbehaving import TRIGGER, ask, misbehaving
from tests.e2e.process import Overbook, model_manifest, server_manifest, wait_until
from tests.e2e.steady import Asker, same
from tests.e2e.zoo import TrainedModel, train

pytestmark = pytest.mark.soak

SILENCE: Final = 8.0
GOOD: Final = 10
# Seconds in which a new process loads what was hot.
BACK: Final = 2.0
# How a bad model is named: its requests get its own error, it fails to load for good, or it is held back.
ANSWERS, FAILS, HELD, HARMLESS = "answers", "fails", "is held back", "is harmless"

BAD: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "raises": (ANSWERS, {"at_predict": {"fail": "no such luck"}}),
    "raises-oddly": (ANSWERS, {"at_predict": {"fail_oddly": 0}}),
    "recurses": (ANSWERS, {"at_predict": {"recurse": 0}}),
    "no-memory": (ANSWERS, {"at_predict": {"exhaust": 0}}),
    "sys-exits": (ANSWERS, {"at_predict": {"leave_politely": 1}}),
    "raises-at-load": (FAILS, {"at_load": {"fail": "no such file"}}),
    "says-no-at-load": (FAILS, {"loaded": False}),
    "sys-exits-at-load": (FAILS, {"at_load": {"leave_politely": 2}}),
    "recurses-at-load": (FAILS, {"at_load": {"recurse": 0}}),
    "exits": (HELD, {"at_trigger": {"leave": 3}}),
    "exits-with-zero": (HELD, {"at_trigger": {"leave": 0}}),
    "segfaults": (HELD, {"at_trigger": {"segfault": 0}}),
    "aborts": (HELD, {"at_trigger": {"crash": 6}}),
    "exits-at-load": (HELD, {"at_load": {"leave": 4}}),
    "segfaults-at-load": (HELD, {"at_load": {"segfault": 0}}),
    "exits-late-at-load": (HELD, {"at_load": {"wait": 1.0, "leave": 5}}),
    "blocks": (HELD, {"at_trigger": {"block_loop": 3600}}),
    "forks-and-exits": (HELD, {"at_load": {"daemonise": 600}, "at_trigger": {"leave": 6}}),
    "exits-at-unload": (HELD, {"at_unload": {"leave": 7}}),
    "raises-at-unload": (HARMLESS, {"at_unload": {"fail": "not yet"}}),
    "slow-to-unload": (HARMLESS, {"at_unload": {"wait": 2.0}}),
    "never-unloads": (HARMLESS, {"at_unload": {"wait": 3600}}),
    "slow-to-load": (HARMLESS, {"at_load": {"wait": 5.0}}),
    "slow": (HARMLESS, {"at_trigger": {"wait": 3.0}}),
    "forks": (HARMLESS, {"at_load": {"daemonise": 600}}),
    "starts-programs": (HARMLESS, {"at_load": {"start_program": 600}}),
    "leaks": (HARMLESS, {"at_predict": {"leak": 200_000}}),
    "prints": (HARMLESS, {"at_predict": {"chatter": 2_000_000}}),
    "starts-threads": (HARMLESS, {"at_predict": {"threads": 5}}),
    "half-written": (FAILS, {}),
    "wrong-shape": (HARMLESS, {"shape": [7, 7]}),
}


@pytest.fixture
def duration(minutes: float) -> float:
    """Seconds."""
    return 60.0 * float(os.environ.get("OVERBOOK_SOAK_BAD_MINUTES", min(minutes, 10.0)))


@dataclass
class Watched:
    """A good model that is asked all the time: its failures, and when each answer came and what it took."""

    model: TrainedModel
    failures: list[str] = field(default_factory=list)
    answers: list[tuple[float, float]] = field(default_factory=list)

    def ask_until(self, over: threading.Event, port: int) -> None:
        with Asker(port, self.model.name, self.model.inputs) as asker:
            number = 0
            while not over.is_set():
                number += 1
                began = time.monotonic()
                try:
                    answer = asker.answer(number)
                    assert same(answer, self.model.expected), f"wrong answer {answer}"
                    self.answers.append((began, time.monotonic() - began))
                except (AssertionError, httpx.HTTPError) as error:
                    self.failures.append(f"{type(error).__name__}: {error}")
                over.wait(0.05)


def _events(running: Overbook) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = running.api.get("/api/v1/events").json()["events"]
    return found


def _away(events: list[dict[str, Any]]) -> list[tuple[float, float]]:
    """When the process was away or silent, until a moment after it was back; on the monotonic clock."""
    offset = time.monotonic() - time.time()
    found, since = [], None
    for each in events:
        at = datetime.fromisoformat(each["time"]).timestamp() + offset
        if each["reason"] == "ServerSilent":
            since = at - SILENCE
        elif each["reason"] == "ServerDied" and since is None:
            since = at - 0.5
        elif each["reason"] in ("ServerReady", "ServerAnswers") and since is not None:
            found.append((since, at + BACK))
            since = None
    return found


def _disturb(running: Overbook, over: threading.Event) -> None:
    """Ask bad models in turn, with what they do not bear now and then, and have some of them unloaded."""
    names, turn = list(BAD), 0
    with httpx.Client(base_url=f"http://127.0.0.1:{running.port}", timeout=30) as client:
        while not over.is_set():
            name = names[turn % len(names)]
            try:
                ask(client, name, TRIGGER if turn // len(names) % 2 else 1.0, seconds=20)
                if "unload" in name:
                    running.api.post(
                        f"/api/v1/models/{name}/evict", json={"timeout": 5}, timeout=20
                    )
            except httpx.HTTPError:
                pass  # it is a bad model
            turn += 1
            over.wait(0.1)


def _quantile(values: list[float], share: float) -> float:
    return float(np.quantile(np.asarray(values), share)) if values else 0.0


@pytest.fixture
def running(home: Path) -> Iterator[Overbook]:
    with Overbook(home / "zoo", "--silence-limit", f"{SILENCE:g}s") as made:
        yield made


def test_the_good_lose_nothing_and_the_bad_are_named(
    home: Path, running: Overbook, duration: float
) -> None:
    good = [train(home / "models", f"good-{n}", megabytes=0.2, seed=n) for n in range(GOOD)]
    assert (
        running.apply(
            server_manifest(1_000_000_000),
            *(model_manifest(each.name, each.folder, memory=each.bytes) for each in good),
        ).code
        == 0
    )
    over = threading.Event()
    watched = [Watched(each) for each in good]
    threads = [
        threading.Thread(target=each.ask_until, args=(over, running.port)) for each in watched
    ]
    for thread in threads:
        thread.start()
    try:
        time.sleep(min(20.0, duration / 4))
        quiet_end = time.monotonic()
        folders = {name: misbehaving(home / "bad", name, **does) for name, (_, does) in BAD.items()}
        settings = folders["half-written"] / "model-settings.json"
        settings.write_text(settings.read_text()[:40])
        bad = [
            model_manifest(name, folder, memory=2_000_000, requirements=["python"], verify=False)
            for name, folder in folders.items()
        ]
        assert running.apply(*bad, wait=False).code == 0
        storm = threading.Thread(target=_disturb, args=(running, over))
        threads.append(storm)
        storm.start()
        time.sleep(duration)
        # What has not come to its second strike by now gets there by being asked.
        for name, (how, _) in BAD.items():
            if how == HELD and "unload" not in name:
                wait_until(
                    f"{name} is held back",
                    lambda name=name: (
                        running.model(name)["status"]["final"]
                        or ask(running.data, name, TRIGGER) is None
                    ),
                    seconds=120,
                    pause=0.5,
                )
    finally:
        over.set()
        for thread in threads:
            thread.join()
    events = _events(running)
    died = [each["message"] for each in events if each["reason"] == "ServerDied"]
    away = _away(events)
    failures = [f"{each.model.name}: {failure}" for each in watched for failure in each.failures]
    answers = [answer for each in watched for answer in each.answers]
    quiet = [took for began, took in answers if began + took < quiet_end]
    loud = [(began, took) for began, took in answers if began > quiet_end]
    steady = [
        took
        for began, took in loud
        if not any(began < end and began + took > start for start, end in away)
    ]
    print(
        f"\nbad models: {len(loud)} answers of good ones, {len(failures)} failed, {len(died)} deaths; "
        f"p99 {_quantile(quiet, 0.99) * 1000:.1f} ms quiet, {_quantile(steady, 0.99) * 1000:.1f} ms beside them; "
        f"{sum(end - start for start, end in away):.0f} s in which the process was away or blocked, "
        f"longest answer {max(took for _, took in loud):.1f} s\n" + "\n".join(died)
    )
    assert failures == []
    assert len(died) <= 2 * sum(how == HELD for how, _ in BAD.values())
    assert len(steady) > len(loud) / 4, "hardly anything is looked at"
    assert _quantile(steady, 0.99) <= 3 * _quantile(quiet, 0.99)
    assert max(took for _, took in loud) < 2 * SILENCE + 10
    left = {each["name"] for each in events if each["reason"] == "ModelUnloadFailed"}
    assert "raises-at-unload" in left
    assert duration < 240 or "never-unloads" in left
    for each in good:
        assert running.model(each.name)["status"]["replicas"][0]["lastError"] in (None, "")
    named = {
        each["name"] for each in events if each["reason"] in ("ModelHeldBack", "ModelSuspected")
    }
    assert named <= {name for name, (how, _) in BAD.items() if how == HELD}, (
        "an innocent is accused"
    )
    for name, (how, _) in BAD.items():
        _is_named(running, name, how, events)


def _is_named(running: Overbook, name: str, how: str, events: list[dict[str, Any]]) -> None:
    status = running.model(name)["status"]
    answer = ask(running.data, name, 1.0)
    if how == ANSWERS:
        assert answer.status_code == 500, f"{name}: {answer.text}"
        return
    if how == HARMLESS:
        assert not status["final"], f"{name}: {status}"
        return
    if name == "exits-at-unload" and not status["final"]:
        return  # how often it was unloaded is chance
    [replica] = status["replicas"] or [{"lastError": status["conditions"][0]["message"]}]
    assert status["final"], f"{name}: {status}"
    assert replica["lastError"], name
    assert answer.status_code == 503, f"{name}: {answer.text}"
    described = " ".join(running.run("describe", "model", name).out.split())
    assert " ".join(str(replica["lastError"]).split())[:40] in described, name
    assert any(each["name"] == name and each["type"] == "Warning" for each in events), name
    if how == HELD:
        assert any(each["name"] == name and each["reason"] == "ModelHeldBack" for each in events)
