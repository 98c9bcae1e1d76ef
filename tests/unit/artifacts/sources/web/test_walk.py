"""All files are found, and a listing without end ends."""

from __future__ import annotations

import pytest

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.sources.web.walk import DEPTH, FILES, Entry, all_files

TREE = {
    "": [Entry("config", False, 3), Entry("1", True), Entry("2", True), Entry("10", True)],
    "1/": [Entry("model", False, 5), Entry("deep", True)],
    "1/deep/": [Entry("2", True), Entry("x", False)],
    "1/deep/2/": [Entry("y", False)],
    "2/": [Entry("model", False)],
    "10/": [],
}


async def tree(folder: str) -> list[Entry]:
    return TREE[folder]


async def names(version: str) -> list[str]:
    return [each.name for each in await all_files("there", tree, version)]


async def test_everything_is_found() -> None:
    assert await names("") == ["config", "1/model", "2/model", "1/deep/x", "1/deep/2/y"]
    assert (await all_files("there", tree, ""))[0] == Entry("config", False, 3)


async def test_a_version_leaves_other_folders_out_and_not_asked() -> None:
    assert await names("1") == ["config", "1/model", "1/deep/x", "1/deep/2/y"]


async def test_of_folders_with_one_number_one_is_taken() -> None:
    """Those that are not are not even asked for."""

    async def two(folder: str) -> list[Entry]:
        tops = [Entry("01", True), Entry("001", True)]
        return {"": tops, "01/": [Entry("m", False)]}[folder]

    assert [each.name for each in await all_files("there", two, "01")] == ["01/m"]
    with pytest.raises(SourceError, match="there: folders '001', '01' are the same version"):
        await all_files("there", two, "1")


@pytest.mark.parametrize("version", ["3", "10"])
async def test_a_version_without_files_is_not_found(version: str) -> None:
    with pytest.raises(
        SourceError, match=f"there: it has no folder '{version}' with files"
    ) as raised:
        await names(version)
    assert raised.value.trouble is Trouble.NOT_FOUND


async def test_nothing_is_not_found() -> None:
    async def empty(folder: str) -> list[Entry]:
        return []

    with pytest.raises(SourceError, match="no files are listed there") as raised:
        await all_files("there", empty, "")
    assert raised.value.trouble is Trouble.NOT_FOUND


async def test_a_circle_ends() -> None:
    asked = []

    async def circle(folder: str) -> list[Entry]:
        asked.append(folder)
        return [Entry("again", True), Entry("file", False)]

    with pytest.raises(SourceError, match="in a circle") as raised:
        await all_files("there", circle, "")
    assert raised.value.trouble is Trouble.REFUSED
    assert len(asked) == DEPTH


@pytest.mark.parametrize("folder", [True, False])
async def test_too_many_are_refused(folder: bool) -> None:
    async def endless(_: str) -> list[Entry]:
        return [Entry(str(number), folder) for number in range(FILES + 1)]

    with pytest.raises(SourceError, match=f"more than {FILES}") as raised:
        await all_files("there", endless, "")
    assert raised.value.trouble is Trouble.REFUSED


async def test_folders_of_all_depths_count_together() -> None:
    asked = 0

    async def wide(folder: str) -> list[Entry]:
        """A third of what is allowed on each level, and only one of them leads on."""
        nonlocal asked
        asked += 1
        if folder.endswith("0/") or not folder:
            return [Entry(str(number), True) for number in range(FILES // 3)]
        return [Entry("file", False)] if folder.count("/") > DEPTH // 2 else []

    with pytest.raises(SourceError, match=f"more than {FILES} files and folders"):
        await all_files("there", wide, "")
    assert asked < FILES
