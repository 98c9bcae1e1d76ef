"""Telling a story: what is wrong with a command is said with its file and line, and a broken law ends the story."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from overbook.residency.core import Core
from overbook.residency.effects import Effect
from overbook.residency.events import Event
from tests.unit.residency.telling.commands import EVENTS
from tests.unit.residency.telling.teller import Teller
from tests.unit.residency.telling.text import StoryError, read

_BEGINNING = ("=== Some.", "", "replica budget=10 a:4 b:8", "----", "")
_STORIES = Path(__file__).parents[1] / "stories"
_README = _STORIES / "README.md"


def told(*commands: str) -> list[str]:
    """What is said of these commands, which are on line 6 and below."""
    (story,) = read("some.txt", "\n".join((*_BEGINNING, *commands, "----")))
    return Teller("some.txt").tell(story)[-1]


def test_what_was_said_are_the_effects_and_then_the_replica() -> None:
    assert told("request a", "request b") == [
        "load a, generation 1",
        "a: loading 4, 1 waiting | b: cold, 1 waiting | 4 of 10 charged",
    ]


def test_a_command_that_names_several_models_is_told_for_each() -> None:
    assert told("request a b") == told("request a", "request b")


def test_models_of_which_the_same_is_to_be_said_share_it() -> None:
    assert told("withhold 3", "remove b", "register c:5 warm=no") == [
        "forgotten b",
        "a c: cold | 0 of 10 charged, 3 withheld",
    ]


def test_where_nothing_was_told_there_is_no_word_of_the_replica() -> None:
    assert told("due") == ["due: never"]


def test_an_illegal_command_says_what_the_core_said() -> None:
    assert told("illegal unloaded a") == ["illegal: model 'a' is cold; expected unloading"]


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("dance a", "there is no command 'dance'"),
        ("illegal dance a", "there is no command 'dance'"),
        ("remove", "'remove': expected a model"),
        ("server-up", "the server is up already"),
        ("request a deadline=soon", "'soon': expected seconds, such as 2.5s"),
        ("request a patience=2s", "'request' does not know 'patience=2s'"),
        ("server-down a", "'server-down' does not know 'a'"),
        ("register a", "'a': expected a model and its bytes, such as a:4"),
        ("register a:much", "'much': expected a whole number"),
        ("register a:4 pinned=perhaps", "'pinned=perhaps': expected yes or no"),
        ("usage a", "'usage': expected in-flight="),
        ("loaded a", "the inference server was not asked to load a"),
        ("withdrawn a", "'withdrawn': nobody was asked that of 'a'"),
        ("leave r1", "there was no request 'r1'"),
        ("tick due", "nothing is due"),
        ('load-failed a reason="no end', "No closing quotation"),
        ("replica budget=10 luck=3", "there is no limit 'luck'"),
    ],
)
def test_a_wrong_command_is_told_with_its_file_and_line(command: str, why: str) -> None:
    with pytest.raises(StoryError) as error:
        told("wait 1s", command)
    assert str(error.value).startswith(f"some.txt:7: {why}")


def test_a_story_begins_with_a_replica() -> None:
    (story,) = read("some.txt", "=== Some.\n\nrequest a\n----\n")
    with pytest.raises(
        StoryError, match=r"^some\.txt:3: a story begins with the command 'replica'"
    ):
        Teller("some.txt").tell(story)
    (empty,) = read("some.txt", "=== Some.\n")
    with pytest.raises(
        StoryError, match=r"^some\.txt:1: a story begins with the command 'replica'"
    ):
        Teller("some.txt").tell(empty)


def test_a_broken_law_ends_the_story_and_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it is not written down as agreed."""
    handle = Core.handle

    def forgetful(core: Core, event: Event, now: float) -> list[Effect]:
        return handle(core, event, now)[:1]

    monkeypatch.setattr(Core, "handle", forgetful)
    with pytest.raises(AssertionError) as error:
        told("request a", "loaded a")
    assert error.value.__notes__ == ["some.txt:7: loaded a"]


def test_what_is_said_to_be_illegal_must_be() -> None:
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE") as error:
        told("illegal remove a")
    assert error.value.__notes__ == ["some.txt:6: illegal remove a"]


def test_every_command_is_explained() -> None:
    rows = [line for line in _README.read_text().splitlines() if line.startswith("| `")]
    explained = {name for row in rows for name in re.findall(r"`([\w-]+)", row.split("|")[1])}
    assert explained == {*EVENTS, *Teller("").commands}


def test_the_example_is_a_story() -> None:
    _, example, *_ = _README.read_text().split("```\n")
    assert example.startswith("=== ")
    assert example in (_STORIES / "requests.txt").read_text()
