"""What reaches a terminal: nobody's escape sequences, colour where it is wanted, lines that fit."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest

from overbook.cli.terminal import coloured, complain, folded, safe, safe_json
from tests.unit.client.fake_overbook import FakeOverbook, event, model, server


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


def shown(fake: FakeOverbook, *arguments: str, columns: int, **environment: str) -> str:
    """What a command prints on a terminal that is so wide."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    child = subprocess.Popen(
        [sys.executable, "-c", "from overbook.cli.main import main; main()", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            "TERM": "xterm",
            "OVERBOOK_API_URL": fake.url,
            **environment,
        },
    )
    os.close(theirs)
    said = b""
    with contextlib.suppress(OSError):  # how the end of a terminal is told
        while piece := os.read(ours, 65536):
            said += piece
    os.close(ours)
    assert child.wait(timeout=30) == 0
    return said.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("columns", [80, 160])
def test_on_a_terminal_all_fits_and_has_colour(fake: FakeOverbook, columns: int) -> None:
    why = "a reason that goes on and on, " * 8
    fake.add(
        model("iris"),
        model("a-model-with-a-longer-name", ready=False, reason="ModelFailed", message=why),
        server("mlserver"),
    )
    fake.events = [{**event(1, "iris"), "message": why, "type": "Warning"}]
    for arguments in (
        ("get", "models"),
        ("get", "models", "-o", "wide"),
        ("get", "servers", "-o", "wide"),
        ("describe", "model", "a-model-with-a-longer-name"),
        ("describe", "server", "mlserver"),
        ("events",),
    ):
        text = shown(fake, *arguments, columns=columns)
        assert "\x1b[" in text, arguments
        assert max(map(len, safe(text).splitlines())) <= columns, safe(text)
        plain = shown(fake, *arguments, columns=columns, NO_COLOR="1")
        assert "\x1b" not in plain
        assert [line.rstrip() for line in safe(text).splitlines()] == plain.splitlines()


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


def test_what_is_wrong_is_folded_on_a_terminal_and_one_line_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    long = "m.yaml:3: model/iris failed: " + "a reason that goes on, " * 8 + "\x1b[2Jand ends"
    for terminal in (True, False):
        stream = Terminal() if terminal else io.StringIO()
        monkeypatch.setattr("sys.stderr", stream)
        complain(long)
        lines = stream.getvalue().splitlines()
        assert " ".join(map(str.strip, lines)) == long.replace("\x1b[2J", "")
        assert (max(map(len, lines)) <= 80) == terminal == (len(lines) > 1)
