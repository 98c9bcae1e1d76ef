"""What is known of each model of a replica, in one record that is forgotten at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from overbook.agent.contents import Contents
from overbook.agent.deaths import CallKind
from overbook.agent.servers.protocol import Configuration, Description, PreparedModel
from overbook.residency.entry import Entry
from overbook.residency.events import ModelName
from overbook.residency.good import Good

A = ModelName("a")
DESCRIPTION = Description({"name": "a"}, Configuration(json=b"{}", message=b""))


def prepared(generation: int, artifact: str = "") -> PreparedModel:
    folder = Path("/cache") / (artifact or f"a-{generation}")
    return PreparedModel(
        name=A, generation=generation, artifact=folder, requirements=(), version=""
    )


class Held:
    """A model with two contents, of which the core holds the second to be the newest."""

    def __init__(self) -> None:
        self.entry = Entry(A, 1, 2, False, 0)
        self.entries = {A: self.entry}
        self.contents = Contents(self.entries)
        for generation in (1, 2):
            self.contents.assign(prepared(generation))

    def load(self, generation: int) -> None:
        self.contents.begin_load(A, generation)
        self.contents.end_load(A, prepared(generation))


def test_a_reload_holds_the_files_of_both() -> None:
    held = Held()
    held.load(1)
    held.contents.begin_load(A, 2)
    assert held.contents.files == {prepared(1).artifact, prepared(2).artifact}
    assert held.contents.loading == {"a-2"}
    assert held.contents.generation_in(A, CallKind.LOAD) == 2
    assert held.contents.generation_in(A, CallKind.REQUEST) == 1
    held.contents.end_load(A, None)
    assert held.contents.in_server == {A: prepared(1)}
    assert held.contents.loading == set()
    assert held.contents.generation_in(A, CallKind.LOAD) == 1


def test_what_left_or_was_lost_is_in_the_server_no_more_and_may_be_loaded_again() -> None:
    held = Held()
    held.load(1)
    held.contents.left(A)
    assert held.contents.loaded(A) is None
    held.load(2)
    held.contents.begin_load(A, 1)
    held.contents.lost()
    assert held.contents.files == set()
    assert held.contents.generation_in(A, CallKind.LOAD) is None
    assert held.contents.begin_load(A, 2) == prepared(2)


def test_a_load_that_failed_leaves_nothing() -> None:
    held = Held()
    held.contents.begin_load(A, 1)
    held.contents.end_load(A, None)
    assert held.contents.files == set()
    assert held.contents.in_server == {}


def test_only_what_can_still_be_loaded_is_kept() -> None:
    held = Held()
    held.entry.good = Good(1, 1)
    held.contents.drop_older(A)
    assert held.contents.find(A, 1) == prepared(1)
    held.entry.good = None
    held.contents.drop_older(A)
    assert held.contents.find(A, 1) is None
    assert held.contents.newest(A) == prepared(2)


def test_what_was_deleted_is_not_the_newest() -> None:
    held = Held()
    held.entry.removed = True
    assert held.contents.newest(A) is None


def test_a_copy_is_looked_at_once_until_a_load_ends_well() -> None:
    held = Held()
    repaired = replace(prepared(2), artifact=Path("/cache/new"))
    assert not held.contents.is_checked(prepared(2))
    held.contents.checked(prepared(2), repaired)
    assert held.contents.is_checked(repaired)
    assert not held.contents.is_checked(prepared(2))
    assert held.contents.find(A, 2) == repaired
    held.load(2)
    assert not held.contents.is_checked(repaired)
    held.contents.checked(prepared(1), None)
    assert held.contents.is_checked(prepared(1))


def test_a_description_is_that_of_one_content() -> None:
    held = Held()
    held.contents.describe(prepared(2), DESCRIPTION)
    assert held.contents.description(prepared(2)) == DESCRIPTION
    assert held.contents.description(prepared(1)) is None


def test_of_a_load_counts_what_ended_after_the_request_came() -> None:
    held = Held()
    held.contents.load_took(A, ended=10.0, seconds=3.0)
    assert held.contents.load_since(A, 9.0) == 3.0
    assert held.contents.load_since(A, 11.0) == 0.0


def test_nothing_is_left_of_a_model_that_is_forgotten() -> None:
    held = Held()
    held.load(2)
    held.contents.checked(prepared(2), None)
    held.contents.describe(prepared(2), DESCRIPTION)
    held.contents.load_took(A, ended=10.0, seconds=3.0)
    held.contents.forget(A)
    held.contents.checked(prepared(2), None)  # somebody was still looking
    held.contents.left(A)
    assert held.contents.in_server == {}
    assert held.contents.find(A, 2) is None
    assert not held.contents.is_checked(prepared(2))
    assert held.contents.description(prepared(2)) is None
    assert held.contents.load_since(A, 0.0) == 0.0
