"""Exceptions that nobody expected are told in few words, however much they hold."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from overbook.machine import logs
from overbook.machine.unexpected import in_a_line, in_full

MUCH = 3_000_000


def test_a_line_names_the_exception_and_what_it_says() -> None:
    assert in_a_line(ValueError("no\nsuch  thing")) == "ValueError: no such thing"
    assert in_a_line(KeyError()) == "KeyError"
    group = ExceptionGroup("two", [ExceptionGroup("one", [OSError("full")]), ValueError("x")])
    assert in_a_line(group) == "OSError: full"


def test_what_an_exception_holds_is_cut() -> None:
    assert len(in_a_line(ValueError("x" * MUCH))) < 600
    error = ValueError("x" * MUCH)
    assert len(in_full(ValueError, error, None)) < 21_000


@pytest.fixture
def root() -> object:
    kept = logging.getLogger().handlers[:], logging.getLogger().level
    yield
    for each in logging.getLogger().handlers:
        each.close()
    logging.getLogger().handlers[:] = kept[0]
    logging.getLogger().setLevel(kept[1])


def test_the_log_and_the_terminal_get_few_words(
    tmp_path: Path, root: object, capsys: pytest.CaptureFixture[str]
) -> None:
    path = logs.configure(tmp_path, "test")
    try:
        (b"\xff" * MUCH).decode()
    except UnicodeDecodeError:
        logging.getLogger("overbook.test").exception("agent %s failed", "x" * MUCH)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "invalid start byte" in said
    assert len(said) < 3000
    written = path.read_text()
    assert "Traceback" in written
    assert "invalid start byte" in written
    assert len(written) < 30_000
