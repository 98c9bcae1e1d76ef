"""Whatever servers and files say, a message is one line that does nothing to a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overbook.artifacts.errors import ArtifactError, NoRoomYet, SourceError, Trouble


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("plain, \u00fc and \u4e2d", "plain, \u00fc and \u4e2d"),
        ("\x1b[2J\x1b]0;title\x07", "\\x1b[2J\\x1b]0;title\\x07"),
        ("two\r\nlines", "two\\x0d\\x0alines"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("half \udc80", "half \\udc80"),
        ("\U000e0001", "\\U000e0001"),
        ("x" * 3000, "x" * 2000 + "\u2026"),
    ],
)
def test_what_is_shown_of_it(said: str, shown: str) -> None:
    for error in (ArtifactError(said), SourceError(Trouble.REFUSED, said), NoRoomYet(said)):
        assert str(error) == shown


@given(st.text())
def test_all_of_it_can_be_printed_and_sent(said: str) -> None:
    message = str(ArtifactError(said))
    assert message.isprintable()
    message.encode()
