"""One version of a folder: what lies at its top, and that version's folder."""

from __future__ import annotations

import pytest

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.sources.protocol import RemoteFile
from overbook.artifacts.sources.web.one_version import of_version

FILES = tuple(
    RemoteFile(name, 1, "mark")
    for name in ("settings.json", "1/model.bin", "12/model.bin", "12/vocabulary/words")
)


@pytest.mark.parametrize(
    ("version", "names"),
    [
        ("", ["settings.json", "1/model.bin", "12/model.bin", "12/vocabulary/words"]),
        ("1", ["settings.json", "1/model.bin"]),
        ("12", ["settings.json", "12/model.bin", "12/vocabulary/words"]),
    ],
)
def test_the_top_and_one_folder(version: str, names: list[str]) -> None:
    assert [each.name for each in of_version("hf://a/b", FILES, version)] == names


def test_a_version_that_is_not_there() -> None:
    with pytest.raises(SourceError) as raised:
        of_version("hf://a/b", FILES, "2")
    assert raised.value.trouble is Trouble.NOT_FOUND
    assert str(raised.value) == (
        "hf://a/b: it has no folder '2' with files in it; "
        "expected as artifactVersion one of those that there are: '12', '1'"
    )
