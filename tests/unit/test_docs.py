"""What the pages name is there, be it a file, a link or a heading: whoever renames one is told which lines to mend."""

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
# A link to another page, to one of its headings, or to a heading of its own page.
LINK: Final = re.compile(r"\]\((?!\w+:)([^()#\s]*)(?:#([^()\s]+))?\)")
HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)
CODE: Final = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
PAGES: Final = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")})


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


def anchors(text: str) -> set[str]:
    """How headings are addressed: in small letters, spaces as hyphens, other punctuation left out."""
    headings = HEADING.findall(CODE.sub("", text))
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}


def astray(page: Path, text: str) -> list[str]:
    """Links that lead to no file, or to no heading of it."""
    wrong = []
    for name, anchor in LINK.findall(CODE.sub("", text)):
        target = page.parent / name if name else page
        if not target.exists() or (
            anchor and anchor not in anchors(target.read_text(encoding="utf-8"))
        ):
            wrong.append(f"{name}#{anchor}" if anchor else name)
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert astray(page, page.read_text(encoding="utf-8")) == []


def test_a_wrong_link_is_seen() -> None:
    page = ROOT / "docs" / "adr" / "README.md"
    text = (
        "[a](README.md) [b](../words.md#no-such) [c](#decision-records) [d](none.md) [e](https://x)"
    )
    assert astray(page, text) == ["../words.md#no-such", "none.md"]


def test_each_decision_record_has_a_number_and_a_line_of_its_own() -> None:
    records = sorted(each.name for each in (ROOT / "docs" / "adr").glob("0*.md"))
    assert len({each[:4] for each in records}) == len(records)
    index = (ROOT / "docs" / "adr" / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| \[(\d{4})\]\((.+?)\)", index, re.MULTILINE) == [
        (each[:4], each) for each in records
    ]
