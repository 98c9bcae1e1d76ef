"""The page and the rows: everything that was measured is there, and what is not met says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.findings import Line, Measured, Section, Target, single
from bench.report import (
    Machine,
    Ran,
    Run,
    by_hand,
    markdown,
    missed,
    number,
    promised,
    rows,
    spread,
)
from bench.samples import Samples

_BARE = Measured("bare", Samples.of([100, 110, 90]), "µs")
_MINE = Measured("Overbook", Samples.of([120, 132, 108]), "µs")
_SLOW = Line("p50", (_BARE, _MINE), Samples.of([1.2, 1.2, 1.2]), "×", Target(1.15))
_RATE = single("apply", Samples.of([1557.4]), "models/s", Target(500, at_least=True))
_PLAIN = single("p99", Samples.of([3, 4]), "ms")
_SECTION = Section("Hot path", "How it is done.", (_SLOW, _RATE, _PLAIN), ("A note.",))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0.00"),
        (0.123, "0.12"),
        (-1.5, "-1.50"),
        (12.34, "12.3"),
        (123.4, "123"),
        (16631, "16,631"),
    ],
)
def test_numbers_are_as_long_as_they_need_to_be(value: float, text: str) -> None:
    assert number(value) == text


def test_a_spread_shows_median_lowest_and_highest() -> None:
    assert spread(_BARE.samples, "µs") == "100 µs (90.0–110)"
    assert spread(Samples.of([2.5]), "s") == "2.50 s"


def test_what_was_promised() -> None:
    assert promised(Target(1.15), "×") == "≤ 1.15 ×"
    assert promised(Target(500, at_least=True), "models/s") == "≥ 500 models/s"
    assert promised(None, "×") == ""


def test_rows_have_contestants_figure_target_and_verdict() -> None:
    assert rows(_SECTION) == [
        (
            "p50",
            "bare 100 µs (90.0–110); Overbook 120 µs (108–132)",
            "1.20 × (1.20–1.20)",
            "≤ 1.15 ×",
            "NOT met",
        ),
        ("apply", "Overbook 1,557 models/s", "1,557 models/s", "≥ 500 models/s", "met"),
        ("p99", "Overbook 3.50 ms (3.00–4.00)", "3.50 ms", "", ""),
    ]


def test_missed_names_the_lines_that_are_not_met() -> None:
    assert missed([_SECTION]) == ["Hot path: p50"]


def _page(*sections: Section, niceness: int = 0, kept: str = "") -> str:
    return markdown(
        Run(
            machine=Machine("Some CPU", 2, 8 * 2**30, "6.1.0", niceness),
            command="python -m bench",
            date="2026-01-02",
            sections=tuple(Ran(each, 0.5, 1.25, 61.0) for each in sections),
        ),
        kept,
    )


def test_the_page_says_where_when_and_how() -> None:
    page = _page(_SECTION)
    assert "`python -m bench` on 2026-01-02" in page
    assert "2 cores (Some CPU), 8.0 GiB of memory, Linux 6.1.0" in page
    assert "0.5 before, 1.2 after; it took 61 s" in page
    assert "- A note." in page


def test_the_page_says_when_it_was_given_priority() -> None:
    assert "niceness" not in _page(_SECTION)
    assert "Linux 6.1.0. Everything ran at niceness -15" in _page(_SECTION, niceness=-15)


def test_the_page_does_not_hide_what_is_not_met() -> None:
    page = _page(_SECTION)
    assert "1 of 2 met. Not met:\n\n- Hot path: p50" in page
    assert "| 1.20 × (1.20–1.20) | ≤ 1.15 × | NOT met |" in page


def test_the_page_of_a_run_that_met_everything() -> None:
    assert "Targets: 1 of 1 met.\n" in _page(Section("Apply", "How.", (_RATE,)))


def test_every_row_of_the_page_has_as_many_cells_as_the_head() -> None:
    table = [line for line in _page(_SECTION).splitlines() if line.startswith("|")]
    assert len(table) == 5
    assert {line.count("|") for line in table} == {6}


def test_a_new_page_keeps_what_people_wrote_on_the_old_one() -> None:
    written = "## Measured for decisions\n\nBy hand.\n"
    old = _page(_SECTION, kept=written)
    assert old.endswith(f"\n\n{written}")
    assert by_hand(old) == written
    assert by_hand(_page(_SECTION)) == ""


def test_the_page_in_the_docs_has_a_section_to_keep() -> None:
    page = (Path(__file__).parents[3] / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    assert page.endswith(by_hand(page))
    assert "\n### " in by_hand(page)
