"""What who waits sees of fetches: bars on a terminal that leave nothing there, lines elsewhere, nothing on stdout."""

from __future__ import annotations

import io
import re
import sys

import pytest

from overbook.cli.bars import display
from overbook.cli.fetching import Seen
from overbook.cli.terminal import safe
from tests.unit.cli.conftest import Overbook
from tests.unit.cli.test_terminal import Terminal
from tests.unit.client.fake_overbook import FakeOverbook, fetched, model


def seen(**done: int) -> Seen:
    found = Seen()
    found.see({name: fetched(name, done=each, total=1000) for name, each in done.items()})
    return found


def test_lines_come_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    said = io.StringIO()
    monkeypatch.setattr(sys, "stderr", said)
    with display() as shown:
        for now, done in ((0.0, 100), (1.0, 200), (9.9, 300), (10.0, 400), (11.0, 500)):
            shown.show(seen(iris=done), now)
        shown.show(seen(iris=600, wine=1), 12.0)
        shown.show(seen(), 30.0)
    assert [line.partition(",")[0] for line in said.getvalue().splitlines()] == [
        "model/iris: fetching 100B of 1000B (10%)",
        "model/iris: fetching 400B of 1000B (40%)",
        "model/iris: fetching 600B of 1000B (60%)",
        "model/wine: fetching 1B of 1000B (0%)",
    ]


def test_of_many_models_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    said = io.StringIO()
    monkeypatch.setattr(sys, "stderr", said)
    with display() as shown:
        shown.show(seen(**{f"m{each}": each for each in range(6)}), 0.0)
        shown.show(seen(**{f"m{each}": each for each in range(7)}), 1.0)
    (line,) = said.getvalue().splitlines()
    assert line.startswith("fetching files of 6 models: 15B of 5.86KiB (0%)")
    assert line.endswith("least far: m0, 0%")


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """From now on that is stderr. No fixture: pytest has a stderr of its own for each phase of a test."""
    said = Terminal()
    monkeypatch.setattr(sys, "stderr", said)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    return said


def test_bars_fit_a_terminal_and_leave_nothing_there(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    with display() as shown:
        shown.show(seen(**{"a-name-that-is-longer-than-most-names-are": 400}, wine=10), 0.0)
        drawn = terminal.getvalue()
        shown.show(seen(wine=20), 1.0)
    lines = safe(drawn.replace("\r", "\n")).splitlines()
    assert max(map(len, lines)) <= 80
    # How many letters of it there is room for is for Rich to say, whose versions differ by one.
    assert any(re.match("model/a-name-that-is-longe?…", line) for line in lines)
    assert any(line.rstrip().endswith("400B of 1000B 118MiB/s, 6s left") for line in lines)
    assert any("10B of 1000B" in line for line in lines)
    # The last that is written clears the one line there is.
    assert terminal.getvalue().endswith("\x1b[?25h\r\x1b[1A\x1b[2K")


def test_of_many_models_there_is_a_bar_of_all_and_one_of_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = on_terminal(monkeypatch)
    with display() as shown:
        shown.show(seen(**{f"m{each}": 100 * each for each in range(1, 7)}), 0.0)
    said = safe(terminal.getvalue())
    assert "6 models" in said
    assert "2.05KiB of 5.86KiB" in said
    assert "least far: model/m1" in said
    assert "m2" not in said


def test_who_waits_is_told_on_stderr_alone(overbook: Overbook, fake: FakeOverbook) -> None:
    fake.add(fetched("iris"))
    fake.becomes_ready["iris"] = model("iris")
    result = overbook("wait", "model", "iris")
    assert result.stdout == "model/iris ready\n"
    assert result.stderr == "model/iris: fetching 512MiB of 1.25GiB (40%), 118MiB/s, 6s left\n"


def test_who_waits_in_vain_is_told_how_far_it_came(overbook: Overbook, fake: FakeOverbook) -> None:
    fake.add(fetched("iris"))
    result = overbook("wait", "model", "iris", "--timeout", "10ms")
    assert result.stderr.splitlines()[-1] == (
        "Error: model/iris is not ready after 0.01 s: ModelProgressing: 0 of 1 available; "
        "fetching 512MiB of 1.25GiB (40%), 118MiB/s, 6s left"
    )
