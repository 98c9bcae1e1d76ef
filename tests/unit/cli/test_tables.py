"""Tables fit the terminal: what gives way, and what never does."""

from __future__ import annotations

from overbook.cli.tables import Column, table

COLUMNS = (Column("NAME"), Column("SIZE", right=True), Column("REASON", shrinks=True))


def test_columns_are_as_wide_as_they_must_be() -> None:
    assert table(COLUMNS, [("iris", "7", "because"), ("a-longer-name", "100Ki", "")]) == (
        "NAME            SIZE  REASON\niris               7  because\na-longer-name  100Ki"
    )


def test_too_wide_tables_shrink_where_they_may() -> None:
    text = table(COLUMNS, [("a" * 30, "100Ki", "x" * 100)], width=60)
    assert max(map(len, text.splitlines())) == 60
    assert "a" * 30 in text
    assert text.endswith("x…")


def test_names_stay_whole_even_when_nothing_fits() -> None:
    text = table(COLUMNS, [("a" * 63, "100Ki", "x" * 100)], width=40)
    assert "a" * 63 in text
    assert text.endswith(f"{'x' * 14}…")


def test_an_empty_table_has_its_header() -> None:
    assert table(COLUMNS, []) == "NAME  SIZE  REASON"
