"""Files that docs/inside.md and docs/words.md name are there: whoever renames one is told which lines to mend."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
SOURCE: Final = ROOT / "src" / "overbook"
# Where a path may begin. The pages say so.
BASES: Final = (SOURCE, ROOT, SOURCE / "runtimes" / "mlserver" / "plugin")
# A file with an ending, or a folder with its slash.
PATH: Final = re.compile(r"`((?:[\w-]+/)+|(?:[\w-]+/)*[\w-]+\.(?:py|lua|proto|md|sh|toml|txt))`")


def missing(text: str) -> list[str]:
    """Paths in backticks at which nothing is."""
    return [
        name for name in PATH.findall(text) if not any((base / name).exists() for base in BASES)
    ]


@pytest.mark.parametrize("page", ["inside.md", "words.md"])
def test_every_file_that_a_page_names_is_there(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    assert len(PATH.findall(text)) > 50, "the page names no files any more, or not in backticks"
    assert missing(text) == []


def test_a_wrong_name_is_seen() -> None:
    text = "`agent/actor.py`, `agnet/actor.py`, `tests/unit/`, `agent/nowhere/`, `database.py`, `no.py`"
    assert missing(text) == ["agnet/actor.py", "agent/nowhere/", "no.py"]
