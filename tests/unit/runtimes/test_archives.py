"""Archives of environments are unpacked; what would write elsewhere, or has no Python, is refused by name."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from overbook.runtimes import archives
from overbook.runtimes.archives import unpack
from overbook.runtimes.installer import RuntimeInstallError

Fill = Callable[[tarfile.TarFile], None]
GOOD = b"#!/bin/sh\nexit 0\n"


def file(packed: tarfile.TarFile, name: str, content: bytes = b"x", mode: int = 0o644) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), mode
    packed.addfile(member, io.BytesIO(content))


def link(packed: tarfile.TarFile, name: str, to: str, kind: bytes = tarfile.SYMTYPE) -> None:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, to
    packed.addfile(member)


def archive(folder: Path, *fills: Fill, python: bytes | None = GOOD) -> Path:
    path = folder / "packed.tar.gz"
    with tarfile.open(path, "w:gz") as packed:
        for fill in fills:
            fill(packed)
        if python is not None:
            file(packed, "bin/python", python, 0o755)
    return path


def refused(folder: Path, path: Path) -> str:
    with pytest.raises(RuntimeInstallError) as error:
        unpack(path, folder / "root", "not made")
    told = str(error.value)
    assert told.startswith("not made: ")
    assert str(path) in told
    assert "\n" not in told
    assert len(told) < 900
    return told


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "victim").write_text("precious")
    return tmp_path / "outside" / "victim"


@pytest.mark.parametrize(
    ("fills", "why"),
    [
        (lambda v: [lambda p: link(p, "h", str(v), tarfile.LNKTYPE), lambda p: file(p, "h")],
         "h is a hard link to"),
        (lambda v: [lambda p: link(p, "s", str(v)), lambda p: link(p, "h", "s", tarfile.LNKTYPE)],
         "h is a hard link to s"),
        (lambda _: [lambda p: link(p, "h", "../outside/victim", tarfile.LNKTYPE)], "h is a hard link"),
        (lambda v: [lambda p: link(p, "f", str(v)), lambda p: file(p, "f")], "f' would be extracted"),
        (lambda _: [lambda p: file(p, "../outside/victim")], "outside"),
        (lambda v: [lambda p: link(p, "lib", str(v.parent))], "lib is a link to"),
        (lambda _: [lambda p: link(p, "lib", "../outside")], "lib is a link to ../outside, a folder"),
        (lambda _: [lambda p: link(p, "d", "", tarfile.CHRTYPE)], "d is a device or a pipe"),
        (lambda _: [lambda p: link(p, "bin/python", "", tarfile.FIFOTYPE)], "bin/python is a device"),
        (lambda _: [lambda p: file(p, "n" * 300)], "File name too long; expected"),
    ],
)  # fmt: skip
def test_nothing_is_written_elsewhere(
    tmp_path: Path, victim: Path, fills: Callable[[Path], list[Fill]], why: str
) -> None:
    assert why in refused(tmp_path, archive(tmp_path, *fills(victim)))
    assert victim.read_text() == "precious"
    assert list(victim.parent.iterdir()) == [victim]


def test_links_to_files_of_the_machine_and_inside_are_kept(tmp_path: Path, victim: Path) -> None:
    python = tmp_path / "python"
    python.write_bytes(GOOD)
    python.chmod(0o755)
    path = archive(
        tmp_path,
        lambda p: link(p, "bin/python", str(python)),
        lambda p: link(p, "bin/python3", "python"),
        lambda p: file(p, "lib/one"),
        lambda p: link(p, "lib64", "lib"),
        lambda p: link(p, "lib/two", "lib/one", tarfile.LNKTYPE),
        python=None,
    )
    root = tmp_path / "root"
    unpack(path, root, "not made")
    assert (root / "bin" / "python3").resolve() == python
    assert (root / "lib64" / "two").read_text() == "x"
    assert os.stat(root / "lib" / "one").st_nlink == 2


def test_marks_of_ours_are_left_out(tmp_path: Path, victim: Path) -> None:
    """An environment that Overbook made may have been packed; what says that it is whole is not true here."""
    path = archive(
        tmp_path,
        lambda p: file(p, "./mine/.overbook-complete"),
        lambda p: file(p, "mine/lib/../.overbook-complete/x"),
        lambda p: link(p, "mine/.overbook-complete-new", str(victim)),
        lambda p: link(p, "mine/overbook-packages.txt", str(victim)),
        lambda p: file(p, "mine/mine/x"),
        lambda p: file(p, "mine/bin/python", GOOD, 0o755),
        python=None,
    )
    unpack(path, tmp_path / "root", "not made")
    assert sorted(each.name for each in (tmp_path / "root").iterdir()) == ["bin", "mine"]


@pytest.mark.parametrize(
    ("python", "why"),
    [
        (b"#!/bin/sh\necho bad >&2; exit 1\n", "is no Python that runs on this machine: bad;"),
        (b"#!/bin/sh\nexit 3\n", "is no Python that runs on this machine: it ended with exit code 3"),
        (b"#!/bin/sh\nexec sleep 1000\n", "is no Python that runs on this machine: it did not end"),
        (b"\x7fELF", "is no Python that runs on this machine: "),
    ],
)  # fmt: skip
def test_a_python_that_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, python: bytes, why: str
) -> None:
    monkeypatch.setattr(archives, "_TRY_SECONDS", 0.5)
    told = refused(tmp_path, archive(tmp_path, python=python))
    assert f"bin/python of {tmp_path}/packed.tar.gz {why}" in told


@pytest.mark.parametrize(
    ("to", "why"),
    [
        ("/dev/zero", "is no Python that runs on this machine: it is not a file"),
        ("python", "is a link to itself"),
        ("/opt/gone/python3", "was made for /opt/gone/python3"),
    ],
)
def test_a_python_that_is_a_link_to_none(tmp_path: Path, to: str, why: str) -> None:
    told = refused(tmp_path, archive(tmp_path, lambda p: link(p, "bin/python", to), python=None))
    assert why in told


def test_what_is_no_archive_or_ends_too_early(tmp_path: Path) -> None:
    path = tmp_path / "packed.tar.gz"
    path.write_bytes(os.urandom(1 << 16))
    assert refused(tmp_path, path).endswith(
        "packed.tar.gz is no archive; expected a .tar.gz of conda-pack or of a venv"
    )
    (tmp_path / "root").rmdir()
    whole = archive(tmp_path, lambda p: file(p, "much", os.urandom(1 << 16))).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "cannot be unpacked: " in refused(tmp_path, path)
    for each in (tmp_path / "root").iterdir():
        each.unlink()
    (tmp_path / "root").rmdir()
    plain = bytearray(gzip.decompress(whole))
    plain[148:156] = b"0000000\0"
    path.write_bytes(gzip.compress(plain))
    assert "no archive" in refused(tmp_path, path)
