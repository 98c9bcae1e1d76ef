"""What reaches a terminal: nobody's escape sequences, colour where it is wanted, lines that fit."""

from __future__ import annotations

import io
import json

import pytest

from overbook.cli.terminal import coloured, folded, safe, safe_json


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, äöü 你好 …", "plain, äöü 你好 …"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b[1;1Hgone", "gone"),
        ("\x1b]0;title\x07\x1b]8;;http://x\x1b\\link", "link"),
        ("\x1b", "\\x1b"),
        ("bell\x07 back\x08 return\r", "bell\\x07 back\\x08 return\\x0d"),
        ("c1 \x9b31m del \x7f", "c1 \\x9b31m del \\x7f"),
        ("turned \u202e", "turned \\u202e"),
    ],
)
def test_control_characters_are_in_sight(text: str, shown: str) -> None:
    assert safe(text) == shown


def test_json_stays_what_it_means() -> None:
    value = {"a\x9b": "\u202e äöü \x1b \x7f"}
    text = safe_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(text) == value
    assert text.isprintable()
    assert "äöü" in text
    assert safe_json('"\x7f"') == '"\\u007f"'


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colour_is_for_terminals_that_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert coloured(Terminal())
    assert not coloured(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not coloured(Terminal())
    monkeypatch.setenv("NO_COLOR", "")
    assert coloured(Terminal())
    monkeypatch.setenv("TERM", "dumb")
    assert not coloured(Terminal())


def test_lines_are_folded_between_words() -> None:
    assert folded("short", 40) == ["short"]
    assert folded("some words that go on and on", 22) == ["some words that go on", "  and on"]
    long = f"see {'/folder' * 10}"
    assert folded(long, 30) == ["see", f"  {'/folder' * 10}"], "a path stays whole"
    assert folded("no room to fold anything at all", 21) == ["no room to fold anything at all"]
