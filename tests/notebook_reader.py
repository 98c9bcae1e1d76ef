"""Reads a notebook that was executed: its code cells, what they showed, and their pictures."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PNG = "image/png"


@dataclass(frozen=True, slots=True)
class Cell:
    """A code cell. ``count``: as which it was executed, from 1; None when it was not."""

    name: str
    source: str
    count: int | None
    outputs: list[dict[str, Any]]

    @property
    def text(self) -> str:
        """All that it printed to stdout."""
        return "".join(
            "".join(each["text"]) for each in self.outputs if each.get("name") == "stdout"
        )

    @property
    def pictures(self) -> list[bytes]:
        shown = [each.get("data", {}) for each in self.outputs]
        return [base64.b64decode(data[_PNG]) for data in shown if _PNG in data]

    @property
    def troubles(self) -> list[dict[str, Any]]:
        """Exceptions, and whatever went to stderr."""
        return [
            each
            for each in self.outputs
            if each["output_type"] == "error" or each.get("name") == "stderr"
        ]

    def said(self) -> Iterator[str]:
        """Everything that it shows in letters."""
        for each in self.outputs:
            yield "".join(each.get("text", ()))
            yield from (
                "".join(text) for kind, text in each.get("data", {}).items() if kind != _PNG
            )


def code_cells(path: Path) -> dict[str, Cell]:
    """By their ids, in order."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return {
        each["id"]: Cell(
            each["id"], "".join(each["source"]), each["execution_count"], each["outputs"]
        )
        for each in cells
        if each["cell_type"] == "code"
    }


def prose(path: Path) -> str:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(each["source"]) for each in cells if each["cell_type"] == "markdown")
