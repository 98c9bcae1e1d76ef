"""docs/from-seldon.md and the program agree: which fields count, which are warned of, and which metrics there are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest
from click import Context

from overbook.cli.main import main
from overbook.manifests import fields
from overbook.manifests.specs import SELDON_GROUP
from overbook.metrics import REGISTRY

PAGE: Final = (Path(__file__).parents[2] / "docs" / "from-seldon.md").read_text(encoding="utf-8")


def _rows(heading: str) -> list[list[str]]:
    """The cells of each row of the table below a heading, without its head."""
    section = PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows[2:]]


def _names(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@pytest.mark.parametrize("kind", ["Model", "Server"])
def test_the_fields_are_those_that_the_program_knows(kind: str) -> None:
    told: dict[str, set[str]] = {"ours": set(), "warned": set()}
    for cell, standing, why in _rows(f"Fields of a {kind}"):
        assert why, cell
        told[standing].update(_names(cell))
    known = fields.SPEC[SELDON_GROUP, kind]
    assert told == {"ours": set(known.active), "warned": set(known.inert)}


def test_the_metrics_are_there() -> None:
    there = {
        each.name + ("_total" if each.type == "counter" else "") for each in REGISTRY.collect()
    }
    named = {name for row in _rows("Metrics") for name in re.findall(r"overbook_\w+", row[1])}
    assert named
    assert named <= there


def test_the_commands_are_there() -> None:
    there = main.list_commands(Context(main))
    named = {name for row in _rows("Commands") for name in re.findall(r"`overbook (\w+)", row[1])}
    assert named
    assert named <= set(there)
