"""Tables fit the terminal: what gives way, and what never does."""

from __future__ import annotations

from overbook.cli.tables import Column, Layout, table
from overbook.cli.terminal import safe

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


def test_columns_that_can_be_spared_go_first() -> None:
    columns = (
        Column("NAME"),
        Column("A", spare=1),
        Column("B", spare=2),
        Column("WHY", folds=True),
    )
    rows = [("n" * 30, "a" * 10, "b" * 10, "because of this and that")]
    assert Layout(columns, rows, width=80).dropped == []
    assert Layout(columns, rows, width=70).dropped == ["B"]
    assert Layout(columns, rows, width=40).dropped == ["B", "A"]
    narrow = Layout(columns, rows, width=60)
    assert "b" not in narrow.row(rows[0]).replace("because", "")
    assert narrow.header.split() == ["NAME", "A", "WHY"]


def test_the_last_column_goes_on_below() -> None:
    columns = (Column("NAME"), Column("WHY", folds=True))
    rows = [("iris", "because of this and that and much more besides")]
    assert table(columns, rows, width=32) == (
        "NAME  WHY\niris  because of this and that\n      and much more besides"
    )
    assert table(columns, rows).splitlines()[1] == f"iris  {rows[0][1]}"


def test_colour_is_around_what_is_there_anyway() -> None:
    columns = (Column("NAME"), Column("STATE", colour=lambda cell: "red" if cell == "bad" else ""))
    rows = [("iris", "bad"), ("wine", "good")]
    text = table(columns, rows, colour=True)
    assert "\x1b[31mbad  \x1b[0m" in text
    assert "\x1b" not in text.splitlines()[2]
    plain = [line.rstrip() for line in safe(text).splitlines()]
    assert plain == table(columns, rows).splitlines()


def test_a_table_into_a_pipe_is_never_cut() -> None:
    columns = (Column("NAME", shrinks=True), Column("WHY", folds=True))
    rows = [("n" * 500, "because " * 100)]
    text = table(columns, rows)
    assert "…" not in text
    assert len(text.splitlines()) == 2


def test_an_empty_table_has_its_header() -> None:
    assert table(COLUMNS, []) == "NAME  SIZE  REASON"


BELOW = (
    Column("NAME"),
    Column("A", spare=1),
    Column("B", spare=2),
    Column("WHY", folds=True, below=True, wanted=20),
)


def test_what_has_no_room_beside_the_others_stands_below_them() -> None:
    rows = [
        ("n" * 10, "a" * 10, "b" * 10, "because of this and that, and more"),
        ("m", "a", "b", "-"),
    ]
    assert Layout(BELOW, rows, width=60).header.splitlines() == [
        "NAME        A           B           WHY",
    ]
    narrow = Layout(BELOW, rows, width=36)
    assert narrow.dropped == []
    assert narrow.header.splitlines() == ["NAME        A           B", "  WHY"]
    assert narrow.row(rows[0]).splitlines() == [
        f"{'n' * 10}  {'a' * 10}  {'b' * 10}",
        "  because of this and that, and more",
    ]
    assert narrow.row(rows[1]) == "m           a           b"
    narrower = Layout(BELOW, rows, width=30)
    assert narrower.dropped == ["B"]
    assert narrower.row(rows[0]).splitlines()[1:] == ["  because of this and that,", "  and more"]


def test_below_it_is_in_colour_too() -> None:
    text = table(BELOW, [("n" * 30, "a" * 10, "b" * 10, "because of that")], width=60, colour=True)
    assert safe(text).splitlines()[1] == "  WHY"
    assert "\x1b[1m  WHY" in text
