"""Layers of an image over each other, of which one folder is taken."""

from __future__ import annotations

import stat
import tarfile
from pathlib import Path

import pytest

from overbook.artifacts.archives import Bounds, unpack_layers
from overbook.artifacts.errors import ArtifactError
from overbook.artifacts.unpacking import effort
from tests.unit.artifacts.hostile import (
    BOUNDS,
    folder,
    hard_link,
    link,
    member,
    never_stopped,
    tar,
    tree,
    watched,
)

Member = tuple[tarfile.TarInfo, bytes]


def image(
    root: Path, layers: list[list[Member]], below: str = "models", bounds: Bounds = BOUNDS
) -> dict[str, str]:
    """What is there of it."""
    packed = [
        tar(root / f"layer-{number}", members, "w:gz" if number % 2 else "w")
        for number, members in enumerate(layers)
    ]
    into = watched(
        root, lambda into: unpack_layers(packed, into, bounds, never_stopped, below=below)
    )
    return tree(into)


def test_only_what_is_below_the_folder_is_taken_and_looked_at(tmp_path: Path) -> None:
    base = [
        *(member("dev/null", type=tarfile.CHRTYPE), link("bin", "/usr/bin"), member("../x")),
        *(member("modelsnot/x", b"n"), member("/etc/passwd", b"p"), member("a", b"1"), member("A")),
        *(folder("models"), folder("models/1"), member("./models/1/m.onnx", b"w", mode=0o4755)),
    ]
    assert image(tmp_path, [base]) == {"1": "/", "1/m.onnx": "w"}


def test_a_folder_further_down(tmp_path: Path) -> None:
    assert image(tmp_path, [[member("a/b/m", b"w"), member("a/m", b"n")]], "a/b") == {"m": "w"}


def test_all_of_it_with_a_single_folder_that_stays(tmp_path: Path) -> None:
    assert image(tmp_path, [[member("iris/m", b"w")]], "") == {"iris": "/", "iris/m": "w"}


@pytest.mark.parametrize(
    ("later", "whole"),
    [
        ([member("models/x", b"new")], {"x": "new", "d": "/", "d/y": "y"}),
        ([member("models/.wh.x")], {"d": "/", "d/y": "y"}),
        ([member("models/.wh.d")], {"x": "x"}),
        ([member("models/d/.wh.y")], {"x": "x", "d": "/"}),
        ([member("models/d/.wh..wh..opq"), member("models/d/z")], {"x": "x", "d": "/", "d/z": ""}),
        # Wherever the marker stands, it is about the layers before.
        ([member("models/d/z"), member("models/d/.wh..wh..opq")], {"x": "x", "d": "/", "d/z": ""}),
        ([member("models/d/z"), member("models/.wh.d")], {"x": "x", "d": "/", "d/z": ""}),
        ([member(".wh.models"), member("models/z")], {"z": ""}),
        ([member(".wh..wh..opq"), member("models/z")], {"z": ""}),
        ([member("models", type=tarfile.REGTYPE), member("other")], "is no folder"),
        ([member("models/.wh.nothing")], {"x": "x", "d": "/", "d/y": "y"}),
        ([member("models/.wh..wh.plnk")], {"x": "x", "d": "/", "d/y": "y"}),
        ([member("models/d", b"file")], {"x": "x", "d": "file"}),
        ([folder("models/x"), member("models/x/y")], {"x": "/", "x/y": "", "d": "/", "d/y": "y"}),
        ([link("models/x", "d")], {"x": "d", "d": "/", "d/y": "y"}),
        ([member("models/X")], "differ only in case"),
        ([member("models/.wh...")], r"has '\.\.' in it"),
        ([member("models/d/.wh./../../x")], r"has '\.\.' in it"),
        ([member("models/z", b"1"), member("models/z", b"2")], "is there twice"),
        ([member("models/../models/z")], r"has '\.\.' in it"),
        ([member("/models/z")], "is absolute"),
        ([member("models/p", type=tarfile.FIFOTYPE)], "is a device, pipe or socket"),
    ],
)
def test_a_later_layer_changes_the_earlier(
    tmp_path: Path, later: list[Member], whole: dict[str, str] | str
) -> None:
    first = [member("models/x", b"x"), member("models/d/y", b"y")]
    if isinstance(whole, str):
        with pytest.raises(ArtifactError, match=whole):
            image(tmp_path, [first, later])
    else:
        assert image(tmp_path, [first, later]) == whole


def test_what_the_folder_lay_in_may_be_replaced(tmp_path: Path) -> None:
    assert image(
        tmp_path, [[member("a/b/x")], [member("a", b"file")], [member("a/b/y")]], "a/b"
    ) == {"y": ""}


def test_links_are_those_of_the_image(tmp_path: Path) -> None:
    layer = [
        *(
            member("models/1/m", b"w"),
            link("models/latest", "/models/1"),
            link("models/m", "/models/1/m"),
        ),
        hard_link("models/h", "models/1/m"),
    ]
    assert image(tmp_path, [layer]) == {"1": "/", "1/m": "w", "latest": "1", "m": "1/m", "h": "w"}


@pytest.mark.parametrize(
    ("evil", "rule"),
    [
        (link("models/l", "/etc/passwd"), "an absolute path"),
        (link("models/l", "/models/../etc"), "an absolute path"),
        (link("models/l", "../beside/secret"), "points outside the artifact"),
        (
            hard_link("models/h", "etc/passwd"),
            "is a hard link to 'etc/passwd', outside of 'models'",
        ),
        (hard_link("models/h", "models/../x"), "is a hard link to"),
    ],
)
def test_links_that_lead_out(tmp_path: Path, evil: Member, rule: str) -> None:
    with pytest.raises(ArtifactError, match=rule):
        image(tmp_path, [[member("etc/passwd"), member("models/m"), evil]])


def test_a_later_layer_writes_through_no_link(tmp_path: Path) -> None:
    layers = [
        [member("models/m"), link("models/l", "../beside")],
        [member("models/l/secret", b"evil")],
    ]
    assert image(tmp_path, layers) == {"m": "", "l": "/", "l/secret": "evil"}


@pytest.mark.parametrize("below", ["../models", "/models", "models/", "a//b"])
def test_a_folder_that_can_be_none(tmp_path: Path, below: str) -> None:
    with pytest.raises(ArtifactError, match="of the image"):
        image(tmp_path, [[member("models/m")]], below)


def test_nothing_below(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="folder 'weights' of the image has no file in it"):
        image(tmp_path, [[member("models/m")]], "weights")


def test_bounds_are_of_all_layers_together(tmp_path: Path) -> None:
    layers = [[member("models/x", bytes(60))], [member("models/x", bytes(60))]]
    with pytest.raises(ArtifactError, match="more than 100 bytes"):
        image(tmp_path, layers, bounds=Bounds(100))
    (tmp_path / "into" / "x").unlink()
    assert image(tmp_path, layers, bounds=Bounds(120, 2))["x"] == "\0" * 60
    (tmp_path / "into" / "x").unlink()
    with pytest.raises(ArtifactError, match="more than 1 entries"):
        image(tmp_path, layers, bounds=Bounds(120, 1))


def test_what_is_passed_over_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(effort, "_MOST_MEMBERS", 4)
    layer = [*(member(f"usr/{n}") for n in range(4)), member("models/m")]
    with pytest.raises(ArtifactError, match="layer 'layer-0' has more than 4 members"):
        image(tmp_path, [layer])
    monkeypatch.setattr(effort, "_MOST_MEMBERS", 5)
    (tmp_path / "into").rmdir()
    assert image(tmp_path, [layer]) == {"m": ""}


def test_a_layer_that_is_no_tar(tmp_path: Path) -> None:
    (tmp_path / "layer").write_bytes(b"PK\x03\x04" + bytes(600))
    with pytest.raises(ArtifactError, match="layer 'layer' is no archive"):
        unpack_layers([tmp_path / "layer"], tmp_path / "into", BOUNDS, never_stopped)


def test_files_of_layers_are_ours_alone(tmp_path: Path) -> None:
    image(tmp_path, [[folder("models"), member("models/m", mode=0o666)]])
    assert stat.S_IMODE((tmp_path / "into" / "m").stat().st_mode) == 0o400
