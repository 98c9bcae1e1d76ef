"""Links of artifacts: inside they stay links, and only into the Hugging Face Hub's cache do they lead out."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from overbook.artifacts.cache import ArtifactCache
from overbook.artifacts.errors import ArtifactError
from overbook.artifacts.survey import look
from tests.unit.artifacts.caches import fetch, opened

REVISION = "0a1b2c"


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ArtifactCache]:
    made = opened(tmp_path / "cache")
    yield made
    made.close()


@pytest.fixture
def snapshot(tmp_path: Path) -> Path:
    """As `huggingface_hub.snapshot_download` leaves it, with a file in a folder below."""
    repository = tmp_path / "hub" / "models--acme--digits"
    (repository / "blobs").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(REVISION)
    found = repository / "snapshots" / REVISION
    (found / "onnx").mkdir(parents=True)
    for name, blob, content in (
        ("config.json", "abc", b"{}"),
        ("onnx/model.onnx", "def", b"weights"),
    ):
        (repository / "blobs" / blob).write_bytes(content)
        link = found / name
        link.symlink_to(os.path.relpath(repository / "blobs" / blob, link.parent))
    return found


async def test_a_snapshot_of_the_hub_is_copied_as_its_files(
    cache: ArtifactCache, snapshot: Path
) -> None:
    assert os.readlink(snapshot / "config.json") == "../../blobs/abc"
    assert look(str(snapshot)).bytes == 9
    found = await fetch(cache, str(snapshot), "f")
    model = found.path / "onnx" / "model.onnx"
    assert (model.read_bytes(), model.is_symlink()) == (b"weights", False)
    assert (found.path / "config.json").read_text() == "{}"
    assert found.bytes == 9


async def test_it_is_the_same_content_as_a_plain_copy(
    cache: ArtifactCache, snapshot: Path, tmp_path: Path
) -> None:
    plain = tmp_path / "plain"
    (plain / "onnx").mkdir(parents=True)
    (plain / "config.json").write_bytes(b"{}")
    (plain / "onnx" / "model.onnx").write_bytes(b"weights")
    digests = {(await fetch(cache, str(each), "")).digest for each in (snapshot, plain)}
    assert len(digests) == 1


async def test_a_folder_or_a_file_of_a_snapshot_is_an_artifact_too(
    cache: ArtifactCache, snapshot: Path
) -> None:
    for source in (snapshot / "onnx", snapshot / "onnx" / "model.onnx"):
        assert look(str(source)).bytes == 7
        found = await fetch(cache, str(source), "")
        assert [each.name for each in found.path.iterdir()] == ["model.onnx"]


def test_another_blob_is_another_content(snapshot: Path) -> None:
    before = look(str(snapshot)).fingerprint
    blobs = snapshot.parent.parent / "blobs"
    (blobs / "other").write_bytes(b"WEIGHTS")
    (snapshot / "onnx" / "model.onnx").unlink()
    (snapshot / "onnx" / "model.onnx").symlink_to("../../../blobs/other")
    os.utime(blobs / "other", ns=(1, 1))
    assert look(str(snapshot)).fingerprint != before


@pytest.mark.parametrize(
    "target", ["../../refs/main", "../../../other/blobs/abc", "../../blobs", "../../blobs/deep/x"]
)
def test_no_other_place_may_be_linked_to(snapshot: Path, target: str) -> None:
    hub = snapshot.parent.parent.parent
    for folder in (hub / "other" / "blobs", snapshot.parent.parent / "blobs" / "deep"):
        folder.mkdir(parents=True)
        (folder / "abc").touch()
        (folder / "x").touch()
    (snapshot / "link").symlink_to(target)
    with pytest.raises(ArtifactError, match=r"link link points outside the artifact"):
        look(str(snapshot))


def test_a_blob_that_is_a_link_itself_is_followed_to_its_end(snapshot: Path) -> None:
    blobs = snapshot.parent.parent / "blobs"
    (blobs / "evil").symlink_to("/etc/hostname")
    (snapshot / "link").symlink_to("../../blobs/evil")
    with pytest.raises(ArtifactError, match=r"link link points outside the artifact"):
        look(str(snapshot))


def test_blobs_that_lie_elsewhere_are_nobodys(snapshot: Path, tmp_path: Path) -> None:
    blobs = snapshot.parent.parent / "blobs"
    blobs.rename(tmp_path / "elsewhere")
    blobs.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ArtifactError, match=r"points outside the artifact"):
        look(str(snapshot))


async def test_an_absolute_link_inside_holds_in_the_copy(
    cache: ArtifactCache, tmp_path: Path
) -> None:
    source = tmp_path / "model"
    (source / "1").mkdir(parents=True)
    (source / "1" / "model.joblib").write_bytes(b"weights")
    (source / "1" / "again.joblib").symlink_to(source / "1" / "model.joblib")
    (source / "current").symlink_to("../model/1")
    found = await fetch(cache, str(source), "f")
    assert os.readlink(found.path / "1" / "again.joblib") == "model.joblib"
    assert os.readlink(found.path / "current") == "1"
    assert (found.path / "current" / "again.joblib").read_bytes() == b"weights"
