"""Files, classes and functions stay small enough to be read at once, but for a few that say why not."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
CODE: Final = (ROOT / "src" / "overbook", ROOT / "bench")
FILE: Final = 450
CLASS: Final = 300
FUNCTION: Final = 60
# The docstring of each has a sentence that begins with this, and the file that holds it may be larger for it.
REASON: Final = "Large, as "
LARGE: Final = (
    "src/overbook/agent/actor.py::Actor",
    "src/overbook/agent/assembly.py::assemble",
    "src/overbook/artifacts/cache.py::ArtifactCache",
    "src/overbook/residency/core.py::Core",
    "src/overbook/residency/replica.py::ReplicaState",
)


def too_large(tree: ast.Module) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            limit = CLASS if isinstance(node, ast.ClassDef) else FUNCTION
            if (node.end_lineno or 0) - node.lineno + 1 > limit:
                yield node


def test_what_is_too_large_is_named_here_and_says_why() -> None:
    found: list[str] = []
    files: list[str] = []
    unreasoned: list[str] = []
    for folder in CODE:
        for path in sorted(folder.rglob("*.py")):
            if "_pb2" in path.name:
                continue  # generated
            text = path.read_text(encoding="utf-8")
            name = str(path.relative_to(ROOT))
            large = {f"{name}::{each.name}": each for each in too_large(ast.parse(text))}
            found += large
            if len(text.splitlines()) > FILE and not large:
                files.append(name)
            unreasoned += [
                key for key, each in large.items() if REASON not in (ast.get_docstring(each) or "")
            ]
    assert files == [], f"more than {FILE} lines, and nothing in it says why"
    assert sorted(found) == sorted(LARGE)
    assert unreasoned == []


@pytest.mark.parametrize(
    ("lines", "large"), [(FUNCTION - 1, []), (FUNCTION, ["f"]), (CLASS, ["C", "f"])]
)
def test_a_line_too_many_is_seen(lines: int, large: list[str]) -> None:
    text = "class C:\n    def f(self):\n" + "        pass\n" * lines
    assert [each.name for each in too_large(ast.parse(text))] == large
