"""docs/metrics.md and the program agree: reasons, bounds, and names of our own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from overbook.agent.model_metrics.kept import Room
from overbook.agent.model_metrics.reading import TOLD, Bounds
from overbook.metrics import REGISTRY

PAGE: Final = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")


def test_each_reason_is_explained() -> None:
    section = PAGE.split("| reason | what it means |\n", 1)[1].split("\n\n", 1)[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == set(TOLD)


def test_the_bounds_are_those_of_the_program() -> None:
    section = PAGE.split("| bound | |\n", 1)[1].split("\n\n", 1)[0]
    told = [int(each.replace(",", "")) for each in re.findall(r"\d[\d,]*", section)]
    bounds, room = Bounds(), Room()
    assert bounds.series == room.model
    assert told[:7] == [
        bounds.series,
        bounds.text,
        room.all,
        bounds.line,
        bounds.name,
        bounds.label,
        bounds.labels,
    ]


def test_our_own_metrics_are_there() -> None:
    there = {
        each.name + ("_total" if each.type == "counter" else "") for each in REGISTRY.collect()
    }
    named = set(re.findall(r"\boverbook_\w+\b(?!\*)", PAGE)) - {"overbook_"}
    assert named
    assert named <= there
