"""docs/own-metrics.md: its table is made of what is declared, and its queries name what there is."""

from __future__ import annotations

import re

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from overbook.metrics import REGISTRY
from scripts.metrics_docs import PAGE, page, table

TEXT = PAGE.read_text(encoding="utf-8")


def test_a_table() -> None:
    registry = CollectorRegistry()
    Gauge("b", "Some bytes.", ("of", "replica"), registry=registry)
    Counter("a", "How often.", registry=registry)
    Histogram("c", "How long.", ("phase",), registry=registry)
    assert table(registry).splitlines() == [
        "| metric | type | labels | it is |",
        "|---|---|---|---|",
        "| `a_total` | counter |  | How often. |",
        "| `b` | gauge | `of`, `replica` | Some bytes. |",
        "| `c` | histogram | `phase` | How long. |",
    ]


def test_the_page_is_fresh() -> None:
    assert TEXT.count("<!-- made by `make docs` -->") == 1
    assert page(TEXT, REGISTRY) == TEXT, "run `make docs`"


def test_every_metric_is_there_and_every_query_asks_for_one() -> None:
    declared = {
        each.name + ("_total" if each.type == "counter" else "") for each in REGISTRY.collect()
    }
    rows = set(re.findall(r"^\| `(overbook_\w+)` \|", TEXT, re.MULTILINE))
    assert rows == declared
    asked = set(re.findall(r"\b(overbook_\w+?)(?:_bucket|_sum|_count)?\b(?=[{\[)]| /|$)", TEXT))
    assert asked
    assert asked <= declared
