"""Stories as text: what is read, where a mistake is said to be, and that only what was said is written anew."""

from __future__ import annotations

import pytest

from tests.unit.residency.telling.text import Command, StoryError, read, rewritten

TWO = """\
# For readers.
=== The first.

replica a:4
# And so is this.
request a
----
load a
a: loading 4

loaded a
----

=== The second.
replica
----
0 of 10 charged
"""


def test_a_story_has_a_title_and_blocks_of_commands_with_what_was_said() -> None:
    first, second = read("two.txt", TWO)
    assert (first.title, second.title) == ("The first.", "The second.")
    one, other = first.blocks
    assert one.commands == [Command(4, "replica a:4"), Command(6, "request a")]
    assert one.said == ["load a", "a: loading 4"]
    assert other.commands == [Command(11, "loaded a")]
    assert other.said == []
    assert [block.said for block in second.blocks] == [["0 of 10 charged"]]


@pytest.mark.parametrize("story", [0, 1])
def test_what_was_said_as_agreed_is_written_as_it_was(story: int) -> None:
    told = read("two.txt", TWO)[story]
    assert rewritten(TWO, told, [block.said for block in told.blocks]) == TWO


def test_only_what_was_said_of_the_story_is_written_anew() -> None:
    first, _ = read("two.txt", TWO)
    anew = rewritten(TWO, first, [["nothing"], ["much", "more"]])
    first, _ = read("two.txt", anew)
    assert [block.said for block in first.blocks] == [["nothing"], ["much", "more"]]
    assert anew.endswith(TWO[TWO.index("=== The second.") :])
    assert anew.startswith(TWO[: TWO.index("load a")])


@pytest.mark.parametrize(
    ("text", "line", "why"),
    [
        ("request a\n", 1, "before the first title"),
        ("===\n", 1, "1 to 100 characters, not 0"),
        (f"=== {'a' * 101}\n", 1, "1 to 100 characters, not 101"),
        ("=== A.\n\n=== A.\n", 3, "the title of line 1 again"),
        ("=== A.\n\n----\n", 3, "without a command above it"),
        ("=== A.\n\nreplica\n\n----\n", 3, "no '----' below this command"),
        ("=== A.\n\nreplica\n=== B.\n", 3, "no '----' below this command"),
        ("=== A.\n\nreplica\nrequest a", 4, "no '----' below this command"),
    ],
)
def test_a_mistake_is_told_with_its_file_and_line(text: str, line: int, why: str) -> None:
    with pytest.raises(StoryError) as error:
        read("some.txt", text)
    assert str(error.value).startswith(f"some.txt:{line}: ")
    assert why in str(error.value)
