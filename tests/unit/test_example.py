"""The example notebook as it is kept: executed from top to bottom, fit to be read, and true of no machine but any."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Final

import pytest

from tests.notebook_reader import Cell, code_cells, prose

ROOT: Final = Path(__file__).parents[2]
EXAMPLE: Final = ROOT / "examples" / "many-models.ipynb"
AGAIN: Final = "run `make notebook`, look at the pictures, and commit what it made"
# Paths, hours and days are another machine's business, or another day's.
NOISE: Final = re.compile(
    r"/(?:root|home|tmp|work|usr|var)/|\b\d\d:\d\d:\d\d\b|\b20\d\d-\d\d-\d\d\b|0x[0-9a-f]{6,}"
)
LINK: Final = re.compile(r"\]\((?!\w+:)([^()#\s]+)")


@pytest.fixture(scope="module")
def cells() -> dict[str, Cell]:
    return code_cells(EXAMPLE)


def test_it_was_executed_from_top_to_bottom_without_trouble(cells: dict[str, Cell]) -> None:
    assert [each.count for each in cells.values()] == list(range(1, len(cells) + 1)), AGAIN
    assert [each.troubles for each in cells.values() if each.troubles] == [], AGAIN


def test_it_shows_three_pictures_that_are_large_enough_to_read(cells: dict[str, Cell]) -> None:
    pictures = [picture for each in cells.values() for picture in each.pictures]
    assert len(pictures) == 3, AGAIN
    for picture in pictures:
        assert picture.startswith(b"\x89PNG")
        width, height = struct.unpack(">2I", picture[16:24])
        assert width >= 800
        assert height >= 300


def test_the_readme_has_the_same_picture(cells: dict[str, Cell]) -> None:
    kept = (ROOT / "docs" / "pictures" / "many-models.png").read_bytes()
    assert cells["residents-picture"].pictures == [kept], AGAIN


def test_nothing_in_it_is_of_one_machine_or_one_day(cells: dict[str, Cell]) -> None:
    found = {
        each.name: noise
        for each in cells.values()
        for text in each.said()
        if (noise := NOISE.findall(text))
    }
    assert found == {}
    whole = EXAMPLE.read_text(encoding="utf-8")
    assert '"iopub.status' not in whole, "times of execution are kept; " + AGAIN


@pytest.mark.parametrize("text", ["in /root/x", "/tmp/ob-1", "12:31:07", "2026-01-31", "0x7f00aa"])
def test_noise_is_seen(text: str) -> None:
    assert NOISE.search(text)


def test_it_is_small_enough_for_a_repository() -> None:
    assert EXAMPLE.stat().st_size < 600_000


def test_its_links_lead_somewhere() -> None:
    links = LINK.findall(prose(EXAMPLE))
    assert links
    assert [link for link in links if not (EXAMPLE.parent / link).exists()] == []


def test_models_are_trained_with_the_version_that_the_runtime_serves_them_with() -> None:
    pin = re.compile(r"^scikit-learn==\S+", re.MULTILINE)
    runtime = ROOT / "src" / "overbook" / "runtimes" / "mlserver" / "requirements.in"
    mine = EXAMPLE.with_name("requirements.in")
    assert pin.findall(mine.read_text()) == pin.findall(runtime.read_text()) != []
