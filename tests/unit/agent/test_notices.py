"""What is gathered for the scheduler: a model is either changed or gone, never both."""

from __future__ import annotations

import pytest

from overbook import metrics
from overbook.agent.clock import Clock
from overbook.agent.notices import EVICTED, NOT_AGAIN, Notices
from overbook.artifacts.transfer import Brought
from overbook.residency.effects import Cause
from overbook.residency.events import ModelName

A = ModelName("a")


@pytest.fixture
def notices() -> Notices:
    return Notices("notices-test", 3, Clock())


def test_a_model_that_comes_back_is_not_gone(notices: Notices) -> None:
    notices.forgotten(A)
    notices.changed(A)
    assert (notices.dirty, notices.gone) == ({A}, set())


def test_a_model_that_is_gone_has_no_state(notices: Notices) -> None:
    notices.changed(A)
    notices.used(A)
    notices.forgotten(A)
    assert (notices.dirty, notices.used_only, notices.gone) == (set(), set(), {A})


def test_usage_alone_wakes_nobody(notices: Notices) -> None:
    notices.used(A)
    assert not notices.wake.is_set()
    notices.changed(A)
    assert notices.wake.is_set()


def test_loads_and_evictions_are_counted_and_told(notices: Notices) -> None:
    notices.loaded(A, 0.0123)
    notices.load_failed(A, "bad pickle", final=False)
    notices.evicted(A, Cause.PRESSURE)
    notices.evicted(A, Cause.PRESSURE, ModelName("wine"))
    notices.evicted(A, Cause.REQUESTED, ModelName("wine"))
    told = [(event.reason, event.warning, event.message) for event in notices.events]
    assert told == [
        ("ModelLoaded", False, "loaded in 12 ms"),
        ("ModelLoadFailed", True, "bad pickle"),
        ("ModelEvicted", False, "evicted to make room for another model"),
        ("ModelEvicted", False, "evicted to make room for wine"),
        ("ModelEvicted", False, "evicted on request"),
    ]
    labels = ("notices-test", "3")
    assert metrics.LOADS.labels(*labels, "ok")._value.get() == 1
    assert metrics.LOADS.labels(*labels, "failed")._value.get() == 1
    assert metrics.EVICTIONS.labels(*labels, "pressure")._value.get() == 2


def test_the_same_failure_at_every_try_is_one_event_and_its_end_is_another(
    notices: Notices,
) -> None:
    for final in (False, False, False, True, True):
        notices.load_failed(A, "bad pickle", final=final)
    told = [event.message for event in notices.events]
    assert told == ["bad pickle", f"bad pickle; {NOT_AGAIN} {A}"]


@pytest.mark.parametrize("change", ["loaded", "forgiven", "forgotten"])
def test_after_a_change_the_same_failure_is_news(notices: Notices, change: str) -> None:
    notices.load_failed(A, "bad pickle", final=False)
    {
        "loaded": lambda: notices.loaded(A, 0.1),
        "forgiven": lambda: notices.forgiven(A),
        "forgotten": lambda: notices.forgotten(A),
    }[change]()
    notices.load_failed(A, "bad pickle", final=False)
    assert [event.reason for event in notices.events].count("ModelLoadFailed") == 2


def test_a_warning_is_one_event_and_stays_with_its_content(notices: Notices) -> None:
    def told() -> list[tuple[str, str]]:
        found = [(event.reason, event.message) for event in notices.events]
        notices.events.clear()
        return found

    notices.warned(A, "files-1", [])
    notices.warned(A, "files-1", ["old version", "old version"])
    notices.warned(A, "files-1", ["old version", "no workers"])
    assert told() == [("ModelWarning", "old version"), ("ModelWarning", "no workers")]
    assert notices.warnings[A].texts == ("old version", "no workers")
    notices.wake.clear()
    notices.warned(A, "files-1", [])
    assert not notices.wake.is_set(), "nothing is new"
    notices.warned(A, "files-2", ["old version"])
    assert told() == [("ModelWarning", "old version")]
    assert notices.warnings[A].texts == ("old version",)
    notices.warned(A, "files-2", map(str, range(20)))
    assert len(told()) + 1 == len(notices.warnings[A].texts) == 8
    notices.forgotten(A)
    assert notices.warnings == {}


def test_each_cause_of_an_eviction_has_words_of_its_own() -> None:
    assert EVICTED.keys() == set(Cause)
    assert len(set(EVICTED.values())) == len(EVICTED)


def test_metrics_that_are_left_out_are_told(notices: Notices) -> None:
    notices.metrics_dropped(A, "a name is too long")
    notices.metrics_dropped("", "a name is too long")
    told = [(event.reason, event.model, event.warning, event.message) for event in notices.events]
    server = "some of the metrics of the server, and of models that do not say whose they are,"
    assert told == [
        ("ModelMetricsDropped", "a", True, "some of its metrics are left out: a name is too long"),
        ("ModelMetricsDropped", "", True, f"{server} are left out: a name is too long"),
    ]
    assert notices.wake.is_set()


def test_what_came_from_elsewhere_is_told_with_its_numbers(notices: Notices) -> None:
    notices.artifact_fetched(A, "s3://models/a", Brought(1_288_490_189, 10.24))
    notices.artifact_fetched(A, "s3://models/a", Brought(1000, 0.1))
    notices.artifact_fetched(A, "s3://models/a", Brought(0, 0.0))
    notices.files_left(A)
    assert [(each.reason, each.warning, each.message) for each in notices.events] == [
        ("ArtifactFetched", False, "1.2GiB from s3://models/a in 10 s (120MiB/s)"),
        ("ArtifactFetched", False, "1000B from s3://models/a in 0.1 s (9.77KiB/s)"),
        ("ArtifactFetched", False, "0B from s3://models/a in 0 s (0B/s)"),
        (
            "FilesLeft",
            False,
            "its files left the disk for others; they are fetched again when a request needs them",
        ),
    ]
    assert notices.dirty == {A}
