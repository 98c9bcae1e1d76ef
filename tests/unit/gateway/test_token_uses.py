"""What Envoy's scripts write down of tokens, as the gateway reads it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from overbook.gateway.token_uses import TokenUses


@pytest.fixture
def uses() -> Iterator[TokenUses]:
    made = TokenUses()
    yield made
    made.close()


def write(uses: TokenUses, text: str) -> None:
    """As a script does it, by the path."""
    with open(uses.path, "a") as notes:
        notes.write(text)


def test_the_latest_use_of_each_is_taken_once(uses: TokenUses) -> None:
    assert uses.take() == {}
    write(uses, "web 100\n")
    write(uses, "app 50\nweb 130\n")
    write(uses, "web 120\n")
    uses.note("own", 7.5)
    uses.note("own", 3.0)
    assert uses.take() == {"web": 130.0, "app": 50.0, "own": 7.5}
    assert uses.take() == {}
    write(uses, "app 60\n")
    assert uses.take() == {"app": 60.0}


def test_a_line_that_is_being_written_is_read_when_it_is_whole(uses: TokenUses) -> None:
    write(uses, "web 100\napp 5")
    assert uses.take() == {"web": 100.0}
    write(uses, "0\n")
    assert uses.take() == {"app": 50.0}


def test_what_is_no_note_is_passed_over(uses: TokenUses) -> None:
    write(uses, "\nweb\nweb x\nweb -5\n\xff 3 4\napp 50\n")
    assert uses.take() == {"app": 50.0}


def test_it_takes_no_more_memory_the_longer_it_runs(uses: TokenUses) -> None:
    for number in range(10):
        write(uses, "".join(f"token-{each} {number}\n" for each in range(10_000)))
        assert len(uses.take()) == 10_000
        with open(uses.path, "rb") as notes:
            assert len(notes.read()) < 512 * 1024
    write(uses, "web 100\n")
    assert uses.take() == {"web": 100.0}


def test_what_was_collected_is_taken_later(uses: TokenUses) -> None:
    write(uses, "web 100\n")
    uses.collect()
    write(uses, "app 50\n")
    uses.collect()
    assert uses.take() == {"web": 100.0, "app": 50.0}
    assert uses.take() == {}
