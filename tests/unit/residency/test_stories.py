"""The laws of DESIGN section 4 as stories that people can read: `stories/README.md` says how they are written.

When the core is meant to say something else, have what was said written anew, and read the diff before you commit it:

    OVERBOOK_REWRITE_GOLDEN=1 .venv/bin/pytest tests/unit/residency/test_stories.py
"""

from __future__ import annotations

import os
from difflib import unified_diff
from pathlib import Path
from typing import Final

import pytest

from tests.unit.residency.telling.teller import Teller
from tests.unit.residency.telling.text import read, rewritten

_STORIES: Final = Path(__file__).with_name("stories")
_REWRITE: Final = "OVERBOOK_REWRITE_GOLDEN"


def _titles() -> list[tuple[str, str]]:
    """File and title of each story."""
    files = sorted(_STORIES.glob("*.txt"))
    return [
        (path.name, story.title) for path in files for story in read(path.name, path.read_text())
    ]


@pytest.mark.parametrize(("file", "title"), _titles())
def test_story(file: str, title: str) -> None:
    path = _STORIES / file
    agreed = path.read_text()
    (story,) = (each for each in read(file, agreed) if each.title == title)
    told = rewritten(agreed, story, Teller(file).tell(story))
    if os.environ.get(_REWRITE) == "1":
        path.write_text(told)
    elif told != agreed:
        changes = unified_diff(
            agreed.splitlines(), told.splitlines(), f"{file}, agreed", f"{file}, said", lineterm=""
        )
        pytest.fail(f"if that is meant, run with {_REWRITE}=1:\n" + "\n".join(changes))
