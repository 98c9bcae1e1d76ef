"""Nothing that runs inside another environment imports Overbook: it is not installed there (docs/adr/0002).

Plugins and the demo's trainers are no packages of ours, so the import contracts of `make lint` do not see them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import overbook

_SOURCES = Path(overbook.__file__).parent
_PLUGINS = tuple(sorted(_SOURCES.glob("runtimes/*/plugin")))
_ELSEWHERE = (*_PLUGINS, _SOURCES / "demo" / "trainers")


def _files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def _imported(text: str) -> Iterator[str]:
    """The top-level names of all absolute imports, wherever in the text they stand."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (each.name.partition(".")[0] for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def test_imports_are_found_wherever_they_stand() -> None:
    text = "import a.b, c\nfrom d.e import f\nfrom . import g\ndef late():\n    from h import i\n"
    assert set(_imported(text)) == {"a", "c", "d", "h"}


@pytest.mark.parametrize("folder", _ELSEWHERE, ids=lambda folder: str(folder.relative_to(_SOURCES)))
def test_what_runs_elsewhere_imports_nothing_of_ours(folder: Path) -> None:
    assert _files(folder), "there is nothing to look at"
    wrong = [
        path.relative_to(folder)
        for path in _files(folder)
        if "overbook" in _imported(path.read_text())
    ]
    assert wrong == []


def test_we_import_no_plugin() -> None:
    names = {path.stem for plugin in _PLUGINS for path in plugin.rglob("overbook_*")}
    assert {"overbook_mlserver", "overbook_triton", "overbook_backend"} <= names
    ours = [
        path
        for path in _files(_SOURCES)
        if not any(path.is_relative_to(folder) for folder in _ELSEWHERE)
    ]
    wrong = [
        path.relative_to(_SOURCES) for path in ours if names & set(_imported(path.read_text()))
    ]
    assert wrong == []
