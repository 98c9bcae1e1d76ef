"""The table of docs/own-metrics.md, made of what is declared in `overbook.metrics`. `make docs` writes it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase

from overbook.metrics import REGISTRY

PAGE: Final = Path(__file__).parents[1] / "docs" / "own-metrics.md"
# What lies between these two lines is made here; the rest of the page is written by hand.
_BLOCK: Final = re.compile(r"(<!-- made by `make docs` -->\n).*?(<!-- end -->)", re.DOTALL)


def page(text: str, registry: CollectorRegistry) -> str:
    """The page with its table made anew."""
    return _BLOCK.sub(lambda block: f"{block[1]}\n{table(registry)}\n\n{block[2]}", text)


def table(registry: CollectorRegistry) -> str:
    """All metrics of the registry, by name."""
    head = "| metric | type | labels | it is |\n|---|---|---|---|"
    return "\n".join([head, *sorted(_row(each) for each in _metrics(registry))])


def _metrics(registry: CollectorRegistry) -> list[MetricWrapperBase]:
    # The library shows only samples, and a metric with labels has none before it was used.
    collectors = list(registry._collector_to_names)
    return [each for each in collectors if isinstance(each, MetricWrapperBase)]


def _row(metric: MetricWrapperBase) -> str:
    (family,) = metric.describe()
    name = family.name + ("_total" if family.type == "counter" else "")
    labels = ", ".join(f"`{each}`" for each in metric._labelnames)
    return f"| `{name}` | {family.type} | {labels} | {family.documentation} |"


def main() -> int:
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), REGISTRY), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
