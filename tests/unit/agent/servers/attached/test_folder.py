"""A folder shared with somebody else's server: what is ours is in the record, and all else is never touched."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from overbook.agent.servers.attached.folder import (
    RECORD,
    FolderUnusable,
    Placed,
    SharedFolder,
    digest_of,
)
from overbook.agent.servers.protocol import ModelRejected, PreparedModel


def opened(path: Path) -> SharedFolder:
    folder = SharedFolder(path)
    folder.open()
    return folder


def put(folder: SharedFolder, name: str, text: str = "x") -> None:
    folder.begin(name, f"digest-{text}")
    files = folder.temporary()
    files.mkdir()
    (files / "file").write_text(text)
    folder.swap_in(name, files)


def test_a_model_is_put_replaced_and_removed(tmp_path: Path) -> None:
    folder = opened(tmp_path)
    put(folder, "iris", "one")
    folder.loaded("iris")
    put(folder, "iris", "two")
    assert (tmp_path / "iris" / "file").read_text() == "two"
    assert folder.placed["iris"] == Placed("digest-two", "digest-one")
    assert not folder.placed["iris"].whole
    folder.loaded("iris")
    assert folder.placed["iris"].whole
    folder.remove("iris")
    assert sorted(each.name for each in tmp_path.iterdir()) == [RECORD]
    assert dict(folder.placed) == {}


def test_the_record_outlives_the_agent(tmp_path: Path) -> None:
    put(opened(tmp_path), "iris", "one")
    again = opened(tmp_path)
    assert again.placed == {"iris": Placed("digest-one", "")}
    again.remove("iris")
    assert not (tmp_path / "iris").exists()


def test_somebody_elses_folder_is_neither_written_nor_removed(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "file").write_text("theirs")
    folder = opened(tmp_path)
    with pytest.raises(ModelRejected, match="which Overbook did not put there"):
        folder.begin("theirs", "d")
    folder.remove("theirs")
    assert (tmp_path / "theirs" / "file").read_text() == "theirs"
    assert dict(folder.placed) == {}


def test_after_the_record_was_lost_everything_is_somebody_elses(tmp_path: Path) -> None:
    put(opened(tmp_path), "iris")
    (tmp_path / RECORD).unlink()
    folder = opened(tmp_path)
    with pytest.raises(ModelRejected, match="remove that folder"):
        folder.check_name("iris")
    folder.remove("iris")
    assert (tmp_path / "iris").is_dir()


def test_a_crash_before_the_files_are_there_leaves_a_name_that_is_ours(tmp_path: Path) -> None:
    folder = opened(tmp_path)
    folder.begin("iris", "d")
    folder.temporary().mkdir()
    again = opened(tmp_path)
    assert not list(tmp_path.glob(".overbook-*")), "what was half done is swept up"
    again.check_name("iris")
    again.remove("iris")
    assert dict(again.placed) == {}


@pytest.mark.parametrize("text", ["", "[]", '{"models": 1}', '{"models": {"iris": 1}}'])
def test_a_damaged_record_is_no_licence_to_guess(tmp_path: Path, text: str) -> None:
    (tmp_path / RECORD).write_text(text)
    with pytest.raises(FolderUnusable, match=r"has a damaged .overbook.json") as caught:
        opened(tmp_path)
    assert str(caught.value).startswith("spec.modelRepository.path: ")
    assert "\n" not in str(caught.value)


def test_folders_that_cannot_be_shared(tmp_path: Path) -> None:
    with pytest.raises(FolderUnusable, match="is not a folder on this machine"):
        opened(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(FolderUnusable, match="is not a folder on this machine"):
        opened(tmp_path / "file")


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda _path, _mode: False)
    with pytest.raises(FolderUnusable, match="cannot be written"):
        opened(tmp_path)


def test_the_record_is_json_that_people_can_read(tmp_path: Path) -> None:
    put(opened(tmp_path), "iris", "one")
    assert json.loads((tmp_path / RECORD).read_text()) == {
        "models": {"iris": {"published": "digest-one", "loaded": ""}}
    }


def test_the_digest_is_of_all_that_decides_what_is_loaded() -> None:
    one = PreparedModel("iris", 1, Path("/cache/abc"), ("sklearn", "fraud"))
    assert digest_of(one) == digest_of(
        PreparedModel("iris", 2, Path("/other/abc"), ("fraud", "sklearn"))
    )
    others = [
        PreparedModel("iris", 1, Path("/cache/abd"), ("sklearn", "fraud")),
        PreparedModel("iris", 1, Path("/cache/abc"), ("sklearn",)),
        PreparedModel("iris", 1, Path("/cache/abc"), ("sklearn", "fraud"), "2"),
        PreparedModel(
            "iris", 1, Path("/cache/abc"), ("sklearn", "fraud"), parameters=(("a", "b"),)
        ),
    ]
    assert len({digest_of(each) for each in (one, *others)}) == 5


def test_many_threads_keep_one_record(tmp_path: Path) -> None:
    folder = opened(tmp_path)

    def live(number: int) -> None:
        name = f"m{number}"
        put(folder, name)
        folder.loaded(name)
        if number % 2:
            folder.remove(name)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(live, range(40)))
    assert opened(tmp_path).placed == folder.placed
    assert set(folder.placed) == {f"m{number}" for number in range(0, 40, 2)}


def test_two_that_remove_the_same_do_not_meet(tmp_path: Path) -> None:
    folder = opened(tmp_path)
    for _ in range(20):
        put(folder, "iris")
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(folder.remove, ["iris", "iris"]))
        assert not (tmp_path / "iris").exists()
