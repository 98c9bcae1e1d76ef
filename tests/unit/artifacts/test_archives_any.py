"""Whatever is in an archive: nothing is written outside the folder, and what is in there keeps the rules."""

from __future__ import annotations

import os
import stat
import tarfile
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given, settings
from hypothesis import strategies as st

from overbook.artifacts.archives import Bounds, unpack, unpack_layers, unpacked_bytes
from overbook.artifacts.errors import ArtifactError
from tests.unit.artifacts.hostile import member, never_stopped, special, tar, watched, zip_of

# So few that names meet, links are written through, and ways lead out.
PARTS = st.sampled_from(["a", "b", "A", "..", ".", "", "beside", "secret", ".wh.a", ".wh..wh..opq"])
PATHS = st.one_of(st.lists(PARTS, min_size=1, max_size=4).map("/".join), st.text(max_size=5))
KINDS = st.sampled_from(
    [
        *(tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE),
        *(tarfile.CHRTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE, b"V"),
    ]
)
MEMBERS = st.lists(st.tuples(PATHS, KINDS, PATHS, st.binary(max_size=9)), min_size=1, max_size=8)
MODES = st.sampled_from([0, stat.S_IFREG, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFDIR])
ENTRIES = st.lists(st.tuples(PATHS, MODES, st.one_of(PATHS, st.just("x"))), min_size=1, max_size=8)
Tar = list[tuple[str, bytes, str, bytes]]


def tar_of(path: Path, members: Tar) -> Path:
    return tar(
        path,
        [
            member(name, content, type=kind, linkname=target)
            for name, kind, target, content in members
        ],
    )


def require_counted(archive: Path, into: Path, bounds: Bounds) -> None:
    """What it takes was known before."""
    lying = [each for each in into.rglob("*") if each.is_file() and not each.is_symlink()]
    count = unpacked_bytes(archive, bounds, never_stopped)
    assert count == sum(each.stat().st_size for each in lying)


def tried(archives: list[Path], *, layers: bool = False) -> None:
    """What is refused may leave a mess inside, but nowhere else."""

    def work(into: Path) -> None:
        bounds = Bounds(1 << 16, 20)
        try:
            if layers:
                unpack_layers(archives, into, bounds, never_stopped, below="a")
            else:
                unpack(archives[0], into, bounds, never_stopped)
                require_counted(archives[0], into, bounds)
        except ArtifactError as error:
            if "\n" in str(error) or len(str(error)) > 600:
                raise AssertionError(f"no line: {error}") from error
            for path in sorted(into.rglob("*"), reverse=True):
                path.unlink() if path.is_symlink() or not path.is_dir() else path.rmdir()

    watched(archives[0].parent, work)


@settings(deadline=None)
@given(MEMBERS)
def test_any_tar(members: Tar) -> None:
    with TemporaryDirectory() as made:
        tried([tar_of(Path(made, "x.tar"), members)])


@settings(deadline=None)
@given(st.lists(MEMBERS, min_size=1, max_size=3))
def test_any_layers(layers: list[Tar]) -> None:
    with TemporaryDirectory() as made:
        tried([tar_of(Path(made, f"{n}.tar"), each) for n, each in enumerate(layers)], layers=True)


@settings(deadline=None)
@given(ENTRIES)
def test_any_zip(entries: list[tuple[str, int, str]]) -> None:
    with TemporaryDirectory() as made:
        infos: list[tuple[str | zipfile.ZipInfo, bytes]] = []
        for name, mode, content in entries:
            try:
                name.encode()
                infos.append((special(name, mode), content.encode()))
            except UnicodeEncodeError:
                continue  # zipfile writes none of these
        tried([zip_of(Path(made, "x.zip"), infos)])


@settings(deadline=None)
@given(st.data())
def test_any_damage(data: st.DataObject) -> None:
    """Some bytes of a good archive are others."""
    with TemporaryDirectory() as made:
        path = Path(made, "x")
        if data.draw(st.booleans()):
            zip_of(path, [("a/b", os.urandom(64)), ("a/c", b"c" * 600)])
        else:
            mode = data.draw(st.sampled_from(["w", "w:gz", "w:xz", "w:bz2"]))
            tar(path, [member("a/b", b"b" * 64), member("a/c", b"c" * 600)], mode)
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content)
        tried([path])
