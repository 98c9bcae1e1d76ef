"""What this replica does with contents, for whoever makes room on the disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from overbook.agent.assigned import AssignedContent, Assignment, asked_by, prepared_model
from overbook.agent.facts import Facts
from overbook.agent.kinds import ArtifactKind
from overbook.agent.uses import uses
from overbook.artifacts.cache import Artifact
from overbook.artifacts.disk import Hold
from overbook.artifacts.kept import Use
from overbook.residency.entry import Entry
from overbook.residency.events import ModelName
from overbook.residency.states import CHARGED, State
from tests.unit.agent.world import spec


def content(name: str, digest: str) -> AssignedContent:
    asked = spec(name)
    artifact = Artifact(Path("/cache") / digest, digest, 5)
    facts = Facts(ArtifactKind("onnx", 5))
    return AssignedContent(artifact, facts, asked_by(asked), prepared_model(asked, artifact), 1)


def assignment(name: str, digest: str, *, pinned: bool = False) -> Assignment:
    made = Assignment(spec(name, pinned=pinned))
    made.content = made.good = content(name, digest)
    return made


def entry_of(name: str, state: State, last_used: float) -> Entry:
    entry = Entry(ModelName(name), size=5, generation=1, pinned=False, priority=0)
    entry.state, entry.last_used = state, last_used
    return entry


def found(
    *assigned: Assignment,
    entries: dict[ModelName, Entry] | None = None,
    loaded: tuple[str, ...] = (),
    busy: tuple[str, ...] = (),
) -> dict[str, Use]:
    return dict(
        uses(
            assigned,
            entries or {},
            loaded=set(loaded),
            busy=set(busy),
            wall=lambda now: now + 5000.0,
        )
    )


def test_a_cold_model_is_no_reason_to_stay() -> None:
    assert found(assignment("a", "d")) == {"d": Use(Hold.NONE, 0.0)}


def test_nothing_is_said_of_what_is_not_here_yet() -> None:
    assert found(Assignment(spec("a"))) == {}


def test_a_pinned_model_stays() -> None:
    assert found(assignment("a", "d", pinned=True))["d"].hold is Hold.FIRM


@pytest.mark.parametrize("state", State)
def test_what_takes_memory_stays(state: State) -> None:
    entries = {ModelName("a"): entry_of("a", state, last_used=7.0)}
    expected = Hold.FIRM if state in CHARGED else Hold.NONE
    models = frozenset({"a"} if expected is Hold.FIRM else ())
    assert found(assignment("a", "d"), entries=entries) == {
        "d": Use(expected, 5007.0, models, in_memory=models)
    }


def test_of_all_in_memory_with_the_same_files_it_is_told_who_they_are() -> None:
    both = (assignment("a", "d"), assignment("b", "d"))
    entries = {ModelName(each): entry_of(each, State.RESIDENT, last_used=7.0) for each in "ab"}
    assert found(*both, entries=entries, loaded=("d",))["d"].in_memory == {"a", "b"}
    assert found(*both, entries=entries, busy=("d",))["d"].in_memory == {"a", "b"}


def test_where_files_stay_whoever_leaves_memory_nobody_is_named() -> None:
    """A pinned model has them too, or they are older than what is applied."""
    entries = {ModelName(each): entry_of(each, State.RESIDENT, last_used=7.0) for each in "ab"}
    for both in (
        (assignment("a", "d", pinned=True), assignment("b", "d")),
        (assignment("b", "d"), assignment("a", "d", pinned=True)),
    ):
        assert found(*both, entries=entries)["d"].in_memory == frozenset()
    reloading = assignment("a", "new")
    reloading.good = content("a", "old")
    assert found(reloading, entries=entries)["old"].in_memory == frozenset()
    assert found(reloading, entries=entries)["new"].in_memory == {"a"}


def test_what_the_server_may_still_read_stays_whoever_it_was_of() -> None:
    assert found(loaded=("d",)) == {"d": Use(Hold.FIRM, 0.0)}
    assert found(assignment("a", "d"), loaded=("d",))["d"].in_memory == frozenset()


def test_an_older_content_stays_as_its_address_may_have_another() -> None:
    model = assignment("a", "new")
    model.good = content("a", "old")
    assert {digest: use.hold for digest, use in found(model).items()} == {
        "new": Hold.NONE,
        "old": Hold.FIRM,
    }


def test_what_somebody_will_read_soon_stays_for_that() -> None:
    assert found(assignment("a", "d"), busy=("d",))["d"].hold is Hold.BRIEFLY


def test_what_requests_wait_for_stays_for_them() -> None:
    model = assignment("a", "d")
    model.waiting = 1
    assert found(model)["d"].hold is Hold.BRIEFLY


def test_of_two_models_with_the_same_files_the_stronger_reason_counts() -> None:
    both = (assignment("a", "d", pinned=True), assignment("b", "d"))
    entries = {ModelName("b"): entry_of("b", State.COLD, last_used=9.0)}
    expected = {"d": Use(Hold.FIRM, 5009.0, frozenset({"a (pinned)"}))}
    assert found(*both, entries=entries) == expected
    assert found(*reversed(both), entries=entries) == expected
