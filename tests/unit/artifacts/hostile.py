"""Makes archives by hand, as nobody who means well would, and unpacks them with what must hold of every unpacking."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

from overbook.artifacts.archives import Bounds, unpack
from overbook.artifacts.names import Names
from overbook.artifacts.walk import walk

BOUNDS = Bounds(bytes=1 << 20)


def member(name: str, content: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    """Of a tar; ``fields``: of its TarInfo."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in fields.items():
        setattr(info, field, value)
    return info, content


def folder(name: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.DIRTYPE)


def link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.SYMTYPE, linkname=target)


def hard_link(name: str, target: str) -> tuple[tarfile.TarInfo, bytes]:
    return member(name, type=tarfile.LNKTYPE, linkname=target)


def tar(path: Path, members: Iterable[tuple[tarfile.TarInfo, bytes]], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as packed:  # type: ignore[call-overload]
        for info, content in members:
            packed.addfile(info, io.BytesIO(content))
    return path


def zip_of(path: Path, members: Iterable[tuple[str | zipfile.ZipInfo, bytes]]) -> Path:
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        warnings.simplefilter("ignore", UserWarning)  # of names that are there twice
        for info, content in members:
            packed.writestr(info, content)
    return path


def special(name: str, mode: int) -> zipfile.ZipInfo:
    """An entry of a zip that says it is of a kind, as a link."""
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = (mode | 0o777) << 16
    return info


def never_stopped() -> None:
    pass


def tree(root: Path) -> dict[str, str]:
    """What is there: a file's content, where a link leads, and "/" for a folder."""
    return {
        name: (
            os.readlink(entry.path)
            if entry.is_symlink()
            else "/"
            if entry.is_dir()
            else Path(entry.path).read_bytes().decode("latin-1")
        )
        for name, entry in walk(root)
    }


def require_harmless(into: Path) -> None:
    """What is below keeps the rules, is ours alone, and leads nowhere else."""
    names = Names("what was unpacked")
    root = into.resolve()
    for name, entry in walk(into):
        names.add(name, folder=entry.is_dir(follow_symlinks=False))
        info = entry.stat(follow_symlinks=False)
        if stat.S_ISLNK(info.st_mode):
            real = Path(entry.path).resolve(strict=True)
            assert real == root or root in real.parents
        elif stat.S_ISDIR(info.st_mode):
            assert stat.S_IMODE(info.st_mode) == 0o700
        else:
            assert stat.S_ISREG(info.st_mode)
            assert stat.S_IMODE(info.st_mode) == 0o400


def watched(around: Path, work: Callable[[Path], None]) -> Path:
    """Has something unpacked into a folder that it returns, and sees that nothing beside it has changed."""
    beside = around / "beside"
    beside.mkdir(exist_ok=True)
    (beside / "secret").write_text("s")
    into = around / "into"
    before = set(os.listdir(around)) | {"into"}
    try:
        work(into)
    finally:
        assert set(os.listdir(around)) <= before
        assert tree(beside) == {"secret": "s"}
    require_harmless(into)
    return into


def unpacked(archive: Path, bounds: Bounds = BOUNDS) -> Path:
    """The folder that it was unpacked into, with nothing done elsewhere."""
    return watched(archive.parent, lambda into: unpack(archive, into, bounds, never_stopped))
