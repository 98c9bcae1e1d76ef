"""Lines are read as prometheus_client reads them, also when they were seen before."""

from __future__ import annotations

from itertools import pairwise

import pytest

from overbook.agent.model_metrics import parsing
from overbook.agent.model_metrics.parsing import Parser, Sample

HEADS = ("# HELP rows Rows.", "# TYPE rows counter")


def sample(value: float, **labels: str) -> Sample:
    return Sample("rows", "counter", "Rows.", "rows", tuple(labels.items()), value)


def test_what_was_seen_is_read_without_the_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    parser = Parser()
    first = parser.parse("rows", HEADS, ['rows{of="a b"} 1', "rows 2"])
    assert first == [sample(1, of="a b"), sample(2)]
    parser.turn()
    monkeypatch.setattr(parsing, "text_string_to_metric_families", _refuses)
    assert parser.parse("rows", HEADS, ["rows 3", 'rows{of="a b"} 4.5e3']) == [
        sample(3),
        sample(4500, of="a b"),
    ]
    parser.turn()
    parser.turn()
    with pytest.raises(AssertionError):
        parser.parse("rows", HEADS, ["rows 3"])


def _refuses(_text: str) -> list[object]:
    raise AssertionError("it was seen before")


def test_a_line_means_what_the_heads_above_it_say() -> None:
    parser = Parser()
    parser.parse("rows", HEADS, ["rows 1"])
    parser.turn()
    [found] = parser.parse("rows", ("# TYPE rows gauge",), ["rows 1"])
    assert found is not None
    assert (found.kind, found.documentation) == ("gauge", "")


def test_a_time_is_no_value() -> None:
    parser = Parser()
    for line, value in (("rows 7 1700000000000", 7), ("rows 8 1700000000001", 8), ("rows 9", 9)):
        assert parser.parse("rows", HEADS, [line]) == [sample(value)]
        parser.turn()


def test_what_cannot_be_read_costs_no_other_line() -> None:
    parser = Parser()
    lines = ["rows 1", 'rows{x="y} 2', "rows three", 'rows{x="y"} 4']
    wanted = [sample(1), None, None, sample(4, x="y")]
    assert parser.parse("rows", HEADS, lines) == wanted
    parser.turn()
    assert parser.parse("rows", HEADS, lines) == wanted
    for value in ("", "four"):
        parser.turn()
        parser.parse("rows", HEADS, ["rows 1"])
        parser.turn()
        assert parser.parse("rows", HEADS, [f"rows {value}"]) == [None]
    assert parser.parse("rows", HEADS, []) == []


def test_strangers_below_a_head_are_families_of_their_own() -> None:
    found = Parser().parse("rows", HEADS, ["rows 1", "else 2", "rows 3", "else 4"])
    assert [each and (each.family, each.kind, each.value) for each in found] == [
        ("rows", "counter", 1),
        ("else", "untyped", 2),
        ("rows", "untyped", 3),
        ("else", "untyped", 4),
    ]


def test_lines_stay_in_their_order() -> None:
    parser = Parser()
    parser.parse("rows", HEADS, [f'rows{{n="{n}"}} {n}' for n in range(0, 20, 2)])
    parser.turn()
    found = parser.parse("rows", HEADS, [f'rows{{n="{n}"}} {n}' for n in range(20)])
    assert all(one and two and one.value < two.value for one, two in pairwise(found))
