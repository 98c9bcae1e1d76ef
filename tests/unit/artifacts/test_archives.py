"""Archives: what is taken from them, and that each way to do harm with one is refused by the name of its rule."""

from __future__ import annotations

import gzip
import io
import os
import stat
import struct
import tarfile
import zipfile
from pathlib import Path
from random import Random

import pytest

from overbook.artifacts.archives import Bounds, TooManyBytes, unpack, unpacked_bytes
from overbook.artifacts.errors import ArtifactError
from tests.unit.artifacts.hostile import (
    BOUNDS,
    folder,
    hard_link,
    link,
    member,
    never_stopped,
    special,
    tar,
    tree,
    unpacked,
    zip_of,
)

MODEL = [folder("model"), folder("model/1"), member("model/1/model.onnx", b"weights")]
WHOLE = {"1": "/", "1/model.onnx": "weights"}
Member = tuple[tarfile.TarInfo, bytes]


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_a_tar_by_its_content_with_its_one_folder_left_out(tmp_path: Path, mode: str) -> None:
    assert tree(unpacked(tar(tmp_path / "object", MODEL, mode))) == WHOLE


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_names_as_tar_writes_them(tmp_path: Path, format: int) -> None:
    long = "n" * 90 + "/" + "m" * 90
    with tarfile.open(tmp_path / "a.tar", "w", format=format) as packed:
        for name in (".", "./ä.txt", f"./{long}"):
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE if name == "." else tarfile.REGTYPE
            packed.addfile(info, io.BytesIO())
    assert tree(unpacked(tmp_path / "a.tar")) == {"ä.txt": "", "n" * 90: "/", long: ""}


def test_a_zip(tmp_path: Path) -> None:
    archive = zip_of(
        tmp_path / "a",
        [
            ("model/", b""),
            ("model/1/model.onnx", b"weights"),
            (special("model/cur", stat.S_IFLNK), b"1"),
        ],
    )
    assert tree(unpacked(archive)) == {**WHOLE, "cur": "1"}


def test_a_zip_whose_names_do_not_say_that_they_are_utf8(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "a.zip", [("ä.txt", b"x")])
    data = bytearray(archive.read_bytes())
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = data.index(signature) + at
        data[start : start + 2] = b"\0\0"
    archive.write_bytes(data)
    assert tree(unpacked(archive)) == {"ä.txt": "x"}
    archive.write_bytes(data.replace("ä".encode(), b"\xff\xfe"))
    with pytest.raises(ArtifactError, match="no valid UTF-8"):
        unpack(archive, tmp_path / "other", BOUNDS, never_stopped)


@pytest.mark.parametrize(
    ("members", "whole"),
    [
        ([member("1/model.onnx", b"w")], {"1": "/", "1/model.onnx": "w"}),
        ([member("m/m/x", b"w")], {"m": "/", "m/x": "w"}),
        ([member("m/x", b"w"), member("y")], {"m": "/", "m/x": "w", "y": ""}),
        ([member("m/x", b"w"), link("n", "m")], {"m": "/", "m/x": "w", "n": "m"}),
        ([member("x", b"w")], {"x": "w"}),
    ],
)
def test_a_folder_is_left_out_where_it_is_alone_and_no_version(
    tmp_path: Path, members: list[Member], whole: dict[str, str]
) -> None:
    assert tree(unpacked(tar(tmp_path / "a.tar", members))) == whole


def test_links_lead_to_the_same_when_the_folder_is_left_out(tmp_path: Path) -> None:
    archive = tar(
        tmp_path / "a.tar",
        [
            # Before what they lead to, through each other, and out of the folder and back in.
            link("m/last", "latest/model.onnx"),
            link("m/latest", "../m/1"),
            *(member("m/1/model.onnx", b"w"), hard_link("m/again", "m/1/model.onnx")),
        ],
    )
    into = unpacked(archive)
    assert tree(into) == {
        "1": "/",
        "1/model.onnx": "w",
        "again": "w",
        "last": "1/model.onnx",
        "latest": "1",
    }
    assert (into / "last").read_bytes() == b"w"


def test_modes_count_for_nothing(tmp_path: Path) -> None:
    into = unpacked(tar(tmp_path / "a.tar", [member("x", b"w", mode=0o6777, uid=1, gid=1)]))
    assert stat.S_IMODE((into / "x").stat().st_mode) == 0o400
    assert (into / "x").stat().st_uid == os.getuid()


@pytest.mark.parametrize(
    ("members", "rule"),
    [
        ([member("/etc/x")], "is absolute"),
        ([member("../beside/x")], r"has '\.\.' in it"),
        ([member("a/../../beside/x")], r"has '\.\.' in it"),
        ([member("a//x")], "has an empty part"),
        ([member("a\\x")], "has a backslash"),
        ([member("a\tx")], "has a control character"),
        ([member("n" * 256)], "has a part of 256 bytes"),
        ([member("n" * 200 + "/" + "m" * 900)], "has 1101 bytes"),
        ([member("x"), member("x")], "is there twice"),
        ([member("x"), member("X")], "differ only in case"),
        ([member("x"), member("x/y")], "which is a file or link; expected a folder"),
        ([member("x/y"), member("x")], "is both a file and a folder"),
        ([member("x/y"), link("x", "z")], "is both a file and a folder"),
        ([folder("x"), link("x", "../beside")], "is both a file and a folder"),
        ([member("x"), member("p", type=tarfile.FIFOTYPE)], "is a device, pipe or socket"),
        ([member("p", type=tarfile.CHRTYPE, devmajor=1, devminor=5)], "is a device"),
        ([member("p", type=tarfile.BLKTYPE)], "is a device"),
        ([link("l", "/etc/passwd")], "an absolute path"),
        ([member("x"), link("l", "../beside/secret")], "points outside the artifact"),
        ([link("l", "..")], "points outside the artifact"),
        ([member("x"), link("l", "nothing")], "points to nothing, which does not exist"),
        ([member("x"), link("l", "l")], "cannot be followed"),
        ([member("x"), link("l", "k"), link("k", "l")], "cannot be followed"),
        ([member("x"), link("l", "x/y")], "cannot be followed"),
        ([member("x"), link("l", "a\nb")], "which has a control character"),
        # A chain, of which each link looks harmless where it is.
        ([link("a/b/up", "../.."), link("out", "a/b/up/../beside"), member("x")], "points outside"),
        # A link, then a file through it.
        (
            [link("l", "../beside"), member("l/secret", b"evil")],
            "lies in 'l', which is a file or link",
        ),
        ([link("l", "../beside/secret"), member("l", b"evil")], "is there twice"),
        ([hard_link("h", "/etc/passwd")], "is a hard link to '/etc/passwd', which is no file"),
        ([hard_link("h", "../beside/secret")], "is a hard link to"),
        (
            [link("l", "../beside/secret"), hard_link("h", "l")],
            "is a hard link to 'l', which is no file",
        ),
        ([folder("d"), hard_link("h", "d")], "is a hard link to 'd', which is no file"),
        ([member("x"), link("round", ".")], "when its links to folders are followed"),
        ([folder("d")], "has no file in it"),
        ([], "has no file in it"),
        ([member("m/x"), link("m/l", "..")], "points outside the artifact"),
    ],
)
def test_a_tar_that_means_harm(tmp_path: Path, members: list[Member], rule: str) -> None:
    archive = tar(tmp_path / "evil.tar", members)
    with pytest.raises(ArtifactError, match=rule) as raised:
        unpacked(archive)
    assert "evil.tar" in str(raised.value)
    assert str(raised.value).isprintable()


@pytest.mark.parametrize(
    ("entry", "content", "rule"),
    [
        ("/etc/x", b"", "is absolute"),
        ("../beside/x", b"", r"has '\.\.' in it"),
        ("a\\..\\x", b"", "has a backslash"),
        (special("l", stat.S_IFLNK), b"../beside/secret", "points outside the artifact"),
        (special("l", stat.S_IFLNK), b"/etc/passwd", "an absolute path"),
        (special("l", stat.S_IFLNK), b"x" * 5000, "which has 1025 bytes"),
        (special("l", stat.S_IFLNK), b"\xff", "which is no valid UTF-8"),
        (special("p", stat.S_IFIFO), b"", "is a device, pipe or socket"),
        (special("d", stat.S_IFDIR), b"", "expected a slash at its end"),
    ],
)
def test_a_zip_that_means_harm(
    tmp_path: Path, entry: str | zipfile.ZipInfo, content: bytes, rule: str
) -> None:
    archive = zip_of(tmp_path / "evil.zip", [("x", b"x"), (entry, content)])
    with pytest.raises(ArtifactError, match=rule) as raised:
        unpacked(archive)
    assert "evil.zip" in str(raised.value)
    assert str(raised.value).isprintable()


def test_a_zip_with_a_zero_byte_in_a_name(tmp_path: Path) -> None:
    archive = zip_of(tmp_path / "evil.zip", [("x.txt#.exe", b"x")])
    archive.write_bytes(archive.read_bytes().replace(b"x.txt#", b"x.txt\0"))
    with pytest.raises(ArtifactError, match="has a control character"):
        unpacked(archive)


@pytest.mark.parametrize(
    ("bit", "method", "rule"),
    [
        (1, 8, "is encrypted"),
        (0x40, 8, "is encrypted"),
        (0, 12, "is compressed by method 12"),
        (0, 14, "method 14"),
    ],
)
def test_a_zip_that_cannot_be_read_in_bounds(
    tmp_path: Path, bit: int, method: int, rule: str
) -> None:
    archive = zip_of(tmp_path / "evil.zip", [("x", b"x" * 99)])
    data = bytearray(archive.read_bytes())
    at = data.index(b"PK\x01\x02")
    struct.pack_into("<HH", data, at + 8, bit, method)
    archive.write_bytes(data)
    with pytest.raises(ArtifactError, match=rule):
        unpacked(archive)


def sparse(path: Path) -> Path:
    """As GNU tar writes them: a terabyte of nothing in a few bytes."""
    info = tarfile.TarInfo("x")
    info.pax_headers = {
        "GNU.sparse.size": str(1 << 40),
        "GNU.sparse.map": "0,1",
        "GNU.sparse.numblocks": "1",
    }
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as packed:
        packed.addfile(info)
    return path


def test_a_sparse_file_of_tar(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="'x' is a sparse file of tar"):
        unpacked(sparse(tmp_path / "evil.tar"))


def header(name: str, size: int, type: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, type
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("type", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_that_would_fill_the_memory(tmp_path: Path, type: bytes) -> None:
    with gzip.open(tmp_path / "evil.tgz", "wb", 1) as packed:
        packed.write(header("x", 7 << 30, type) + bytes(1 << 20))
    with pytest.raises(ArtifactError, match="has a header of more than 256 KiB"):
        unpacked(tmp_path / "evil.tgz")


def test_headers_that_would_fill_the_memory_together(tmp_path: Path) -> None:
    def pax(key: str) -> bytes:
        record = f" {key}={'v' * 6_000}\n"
        data = f"{len(record) + 4}{record}".encode()
        return header("g", len(data), tarfile.XGLTYPE) + data + bytes(-len(data) % 512)

    (tmp_path / "evil.tar").write_bytes(
        b"".join(pax(f"k{number}") + header(str(number), 0) for number in range(3)) + bytes(1024)
    )
    with pytest.raises(ArtifactError, match="headers for all members that have more than 8 KiB"):
        unpacked(tmp_path / "evil.tar")


def test_more_bytes_than_the_bound_are_counted_as_they_come(tmp_path: Path) -> None:
    for archive in (
        tar(tmp_path / "a.tgz", [member("x", bytes(3 << 20))], "w:gz"),
        zip_of(tmp_path / "a.zip", [("x", bytes(3 << 20))]),
        tar(tmp_path / "b.tar", [member(str(n), bytes(300 << 10)) for n in range(5)]),
        # Hard links are files to whoever copies them.
        tar(tmp_path / "c.tar", [member("x", bytes(900 << 10)), hard_link("y", "x")]),
    ):
        with pytest.raises(ArtifactError, match="more than 1048576 bytes when it is unpacked"):
            unpacked(archive)
        lying = [each for each in (tmp_path / "into").rglob("*") if each.is_file()]
        assert sum(each.stat().st_size for each in lying) <= 1 << 20
        for each in lying:
            each.unlink()
    exactly = Bounds(bytes=300 << 10, entries=1)
    assert unpacked(tar(tmp_path / "d.tar", [member("z", bytes(300 << 10))]), exactly)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_what_a_tar_unpacks_to_is_known_before(tmp_path: Path, mode: str) -> None:
    files = [member("m/a", bytes(3000)), hard_link("m/b", "m/a"), member("m/c", bytes(200))]
    archive = tar(tmp_path / "a", [folder("m"), *files, link("m/d", "a")], mode)
    assert unpacked_bytes(archive, BOUNDS, never_stopped) == 6200
    assert unpacked(archive, Bounds(6200))


def test_what_a_zip_unpacks_to_is_in_its_directory(tmp_path: Path) -> None:
    """Which may say too much: no more than that is unpacked."""
    archive = zip_of(tmp_path / "a.zip", [("x", bytes(3000)), ("y", bytes(200))])
    assert unpacked_bytes(archive, BOUNDS, never_stopped) == 3200
    data = bytearray(archive.read_bytes())
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 24, 1 << 30)
    archive.write_bytes(data)
    with pytest.raises(TooManyBytes):
        unpacked_bytes(archive, BOUNDS, never_stopped)


def test_a_header_that_says_too_much_suffices(tmp_path: Path) -> None:
    """Nothing of what follows is decompressed, which may be a terabyte."""
    archive = tmp_path / "a.tar.gz"
    info, _ = member("x")
    info.size = 1 << 40
    archive.write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT)))
    with pytest.raises(TooManyBytes, match=r"a\.tar\.gz' unpacks to more than 1048576 bytes"):
        unpacked_bytes(archive, BOUNDS, never_stopped)


def test_each_hard_link_counts_as_a_file_of_its_own(tmp_path: Path) -> None:
    links = [hard_link(f"l{number}", "x") for number in range(20)]
    archive = tar(tmp_path / "a.tgz", [member("x", bytes(60_000)), *links], "w:gz")
    with pytest.raises(TooManyBytes):
        unpacked_bytes(archive, BOUNDS, never_stopped)
    archive = tar(tmp_path / "b.tgz", [hard_link("l", "x"), member("x")], "w:gz")
    with pytest.raises(ArtifactError, match="no file that came before it"):
        unpacked_bytes(archive, BOUNDS, never_stopped)


def test_an_archive_that_ends_too_early_is_not_counted(tmp_path: Path) -> None:
    archive = tar(tmp_path / "a.tar", [member("x", bytes(5000)), member("y", bytes(5000))])
    data = archive.read_bytes()
    for length in (700, 6000, 7000, 11_264):
        archive.write_bytes(data[:length])
        with pytest.raises(ArtifactError, match="expected a whole tar archive"):
            unpacked_bytes(archive, BOUNDS, never_stopped)


def test_who_counts_hears_that_nobody_waits(tmp_path: Path) -> None:
    archive = tar(tmp_path / "a.tar", [member("x", bytes(1 << 20))])

    class Stopped(Exception):
        pass

    steps = 0

    def stop() -> None:
        nonlocal steps
        steps += 1
        if steps > 5:
            raise Stopped

    with pytest.raises(Stopped):
        unpacked_bytes(archive, Bounds(1 << 30), stop)


def test_a_zip_that_says_it_is_small(tmp_path: Path) -> None:
    """Its directory says one byte; that is where the reading ends."""
    archive = zip_of(tmp_path / "a.zip", [("x", bytes(3 << 20))])
    data = bytearray(archive.read_bytes())
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 24, 1)
    archive.write_bytes(data)
    with pytest.raises(ArtifactError, match="is damaged"):
        unpacked(archive)


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_more_entries_than_the_bound(tmp_path: Path, kind: str) -> None:
    archive = (
        tar(tmp_path / "a", [member(f"a/{n}") for n in range(10)])
        if kind == "tar"
        else zip_of(tmp_path / "a", [(f"a/{n}", b"") for n in range(10)])
    )
    with pytest.raises(ArtifactError, match="more than 10 entries"):
        unpacked(archive, Bounds(1000, 10))
    for each in (tmp_path / "into").rglob("*/*"):
        each.unlink()
    assert len(tree(unpacked(archive, Bounds(1000, 11)))) == 10


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_every_archive_that_is_cut_off_is_refused(tmp_path: Path, mode: str) -> None:
    whole = tar(
        tmp_path / "whole", [member("a", b"a" * 700), member("b", os.urandom(700))], mode
    ).read_bytes()
    # What follows the first block of zeros only fills a record up.
    most = len(whole) if mode != "w" else 4 * 512 + 2 * 512
    for length in {*range(0, most, 97), *range(0, most, 512), most - 1}:
        (tmp_path / "cut.tar").write_bytes(whole[:length])
        with pytest.raises(ArtifactError) as raised:
            unpack(tmp_path / "cut.tar", tmp_path / f"into{length}", BOUNDS, never_stopped)
        assert str(raised.value).isprintable()
        assert "cut.tar" in str(raised.value)


def test_every_zip_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    whole = zip_of(tmp_path / "whole", [("a", b"a" * 700), ("b", os.urandom(700))]).read_bytes()
    for length in range(0, len(whole), 53):
        (tmp_path / "cut.zip").write_bytes(whole[:length])
        with pytest.raises(ArtifactError, match=r"cut\.zip"):
            unpack(tmp_path / "cut.zip", tmp_path / f"into{length}", BOUNDS, never_stopped)


def test_bytes_that_are_damaged_are_found(tmp_path: Path) -> None:
    """By the checksums of gzip and zip; a plain tar has none for its files."""
    # The same bytes in every run: which of the checks finds it depends on them.
    random = Random(7).randbytes(5000)
    for archive in (
        tar(tmp_path / "a.tgz", [member("x", random)], "w:gz"),
        zip_of(tmp_path / "a.zip", [("x", random)]),
    ):
        data = bytearray(archive.read_bytes())
        data[3000] ^= 1
        archive.write_bytes(data)
        with pytest.raises(ArtifactError, match=r"is damaged|cannot be unpacked"):
            unpack(archive, tmp_path / f"into-{archive.name}", BOUNDS, never_stopped)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "is no archive"),
        (b"weights" * 1000, "is no archive"),
        (gzip.compress(b"weights" * 1000), "is of gzip, but holds no tar archive"),
        (b"\x28\xb5\x2f\xfd" + bytes(100), "is compressed by zstd"),
        (b"PK\x03\x04" + bytes(1000), "is damaged"),
        (b"PK\x05\x06" + bytes(18), "has no file in it"),
    ],
)
def test_what_is_no_archive(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "a.tar.gz").write_bytes(content)
    with pytest.raises(ArtifactError, match=told):
        unpacked(tmp_path / "a.tar.gz")


def test_streams_that_follow_each_other_are_one_archive(tmp_path: Path) -> None:
    """As `pigz` and many a registry write them; zeros may fill the file up."""
    plain = tar(tmp_path / "a.tar", MODEL).read_bytes()
    packed = b"".join(gzip.compress(plain[at : at + 700]) for at in range(0, len(plain), 700))
    (tmp_path / "a.tgz").write_bytes(packed + bytes(1000))
    assert tree(unpacked(tmp_path / "a.tgz")) == WHOLE


def test_who_stops_it_is_heard_at_once(tmp_path: Path) -> None:
    class Stopped(Exception):
        pass

    calls = 0

    def stop() -> None:
        nonlocal calls
        calls += 1
        if calls == 12:
            raise Stopped

    archive = tar(tmp_path / "a.tgz", [member("x", bytes(1 << 20))], "w:gz")
    with pytest.raises(Stopped):
        unpack(archive, tmp_path / "into", BOUNDS, stop)
    assert (tmp_path / "into" / "x").stat().st_size < 1 << 20
