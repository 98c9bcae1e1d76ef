"""Archives of some kilobytes that would keep a thread busy for minutes: each is refused soon, or costs little, and a
stop is heard at any time. Measured in a process of their own."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import struct
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

UNPACK = """
import json, sys, time
from pathlib import Path
from overbook.artifacts.archives import Bounds, unpack, unpack_layers, unpacked_bytes
from overbook.artifacts.errors import ArtifactError

last, gap, why = time.thread_time(), 0.0, ""

def looked() -> None:
    global last, gap
    gap, last = max(gap, time.thread_time() - last), time.thread_time()

archives, into, bounds = [Path(each) for each in sys.argv[2:]], Path(sys.argv[1]), Bounds(64 << 20)
started = time.thread_time()
try:
    if len(archives) == 1 and "layer" not in archives[0].name:
        unpacked_bytes(archives[0], bounds, looked)
        unpack(archives[0], into, bounds, looked)
    else:
        unpack_layers(archives, into, bounds, looked, below="models")
except ArtifactError as error:
    why = str(error)
looked()
print(json.dumps([why, gap, time.thread_time() - started]))
"""


def header(name: str, size: int = 0, type: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, type, link
    return info.tobuf(tarfile.GNU_FORMAT)


def extended(payload: bytes, type: bytes = tarfile.XHDTYPE) -> bytes:
    return header("x", len(payload), type) + payload + bytes(-len(payload) % 512)


def record(key: str, value: str) -> bytes:
    rest = f" {key}={value}\n".encode()
    length = len(rest) + 1
    while length != len(rest) + len(str(length)):
        length = len(rest) + len(str(length))
    return str(length).encode() + rest


def at(folder: Path, name: str, content: bytes) -> list[Path]:
    (folder / name).write_bytes(content)
    return [folder / name]


def nothing_but_streams(folder: Path) -> list[Path]:
    """A member of a kind that nobody knows, of 40 GiB."""
    zeros = bz2.compress(bytes(64 << 20))
    return at(folder, "layer", bz2.compress(header("x", 40 << 30, b"Z")) + zeros * 640)


def nothing_within_xz(folder: Path) -> list[Path]:
    zeros = lzma.compress(bytes(64 << 20), preset=0)
    return at(folder, "layer", lzma.compress(header("x", 4 << 30, b"Z")) + zeros * 64)


def empty_members(folder: Path) -> list[Path]:
    packed = gzip.compress(header("a") + bytes(1024)) + gzip.compress(b"") * 1_000_000
    return at(folder, "a.tar.gz", packed)


def empty_streams_of_bz2(folder: Path) -> list[Path]:
    packed = bz2.compress(header("a") + bytes(1024)) + bz2.compress(b"") * 500_000
    return at(folder, "a.tar.bz2", packed)


def empty_streams_of_xz(folder: Path) -> list[Path]:
    packed = lzma.compress(header("a") + bytes(1024)) + lzma.compress(b"") * 500_000
    return at(folder, "a.tar.xz", packed)


def one_folder_a_million_times(folder: Path) -> list[Path]:
    return at(folder, "a.tar.xz", lzma.compress(header("d", type=tarfile.DIRTYPE) * 1_000) * 1_000)


def a_million_elsewhere(folder: Path) -> list[Path]:
    return at(folder, "layer", lzma.compress(header("usr/x") * 1_000) * 1_000)


def headers_for_all(folder: Path) -> list[Path]:
    """Each of which is gone through at each member."""
    shared = b"".join(record(f"{n:x}", "") for n in range(900))
    members = (header(f"{n}") for n in range(15_000))
    content = extended(shared, tarfile.XGLTYPE) + b"".join(members) + bytes(1024)
    return at(folder, "a.tgz", gzip.compress(content))


def digits(folder: Path) -> list[Path]:
    return at(folder, "a.tar", extended(record("a", "1" * 200_000)) + header("x") + bytes(1024))


def far_ends(folder: Path) -> list[Path]:
    """Records whose names are found far away."""
    payload = b"3 a" * 80_000 + b"="
    return at(folder, "a.tar", extended(payload) + header("x") + bytes(1024))


def records(folder: Path) -> list[Path]:
    few = b"".join(record("a", "") for _ in range(1_400))
    members = (extended(few) + header(f"{n}") for n in range(15_000))
    return at(folder, "a.tgz", gzip.compress(b"".join(members) + bytes(1024)))


def extra_fields(folder: Path) -> list[Path]:
    common = struct.pack("<5H3L2H", 20, 0, 0, 0, 0, 0, 0, 0, 9, 65_000)
    start = b"PK\x01\x02\x14\x00" + common + struct.pack("<3H2L", 0, 0, 0, 0, 0)
    extra = struct.pack("<2H", 9, 0) * (65_000 // 4)
    directory = b"".join(b"%bn%08d%b" % (start, n, extra) for n in range(600))
    first = b"PK\x03\x04" + struct.pack("<5H3L2H", 20, 0, 0, 0, 0, 0, 0, 0, 9, 0) + b"n00000000"
    end = struct.pack("<4H2LH", 0, 0, 600, 600, len(directory), len(first), 0)
    return at(folder, "a.zip", first + directory + b"PK\x05\x06" + end)


def one_over_the_other(folder: Path) -> list[Path]:
    """Entries of a zip that are each all of it, and hold a megabyte of nothing."""
    data = b"\x00\x00\x00\xff\xff" * 200_000 + b"\x03\x00"
    local = b"PK\x03\x04" + struct.pack("<5H3L2H", 20, 0, 8, 0, 0, 0, len(data), 0, 9, 0)
    directory = b""
    for n in range(5_000):
        common = struct.pack("<5H3L2H", 20, 0, 8, 0, 0, 0, len(data) - 51 * n, 0, 9, 0)
        directory += b"PK\x01\x02\x14\x00" + common + struct.pack("<3H2L", 0, 0, 0, 0, 0)
        directory += b"n%08d" % n
    content = local + b"n00000000" + data
    end = struct.pack("<4H2LH", 0, 0, 5_000, 5_000, len(directory), len(content), 0)
    return at(folder, "a.zip", content + directory + b"PK\x05\x06" + end)


def links_of(folder: Path, targets: Iterator[tuple[str, str]], first: bytes) -> list[Path]:
    linked = (header(name, type=tarfile.SYMTYPE, link=target) for name, target in targets)
    return at(folder, "a.tgz", gzip.compress(first + b"".join(linked) + bytes(1024)))


def a_chain_of_links(folder: Path) -> list[Path]:
    each = ((f"l{n}", f"l{n + 1}" if n < 10_000 else "x") for n in range(10_001))
    return links_of(folder, each, header("x"))


def links_that_go_round(folder: Path) -> list[Path]:
    way = "a/../" * 19
    each = ((f"l{n}", f"{way}l{n + 1}" if n % 39 else f"{way}x") for n in range(10_000))
    return links_of(folder, each, header("x") + header("a", type=tarfile.DIRTYPE))


def deletions(folder: Path) -> list[Path]:
    """Each of a folder in which all of the layer's files lie, which stay."""
    deep = [f"models/{'/'.join('d' * n)}" for n in range(1, 250)]
    files = "".join(f"{n:04x} " for n in range(10_000)).split()
    members = [
        header("s", len(name := f"{deep[-1]}/{file}".encode()) + 1, tarfile.GNUTYPE_LONGNAME)
        + (name + b"\0").ljust(-(-(len(name) + 1) // 512) * 512, b"\0")
        + header("s")
        for file in files
    ]
    for each in deep:
        name = f"{each.rpartition('/')[0]}/.wh.d".encode()
        members.append(header("s", len(name) + 1, tarfile.GNUTYPE_LONGNAME))
        members.append((name + b"\0").ljust(-(-(len(name) + 1) // 512) * 512, b"\0"))
        members.append(header("s"))
    return at(folder, "layer", gzip.compress(b"".join(members) + bytes(1024)))


def cut_in_a_sparse_map(folder: Path) -> list[Path]:
    info = bytearray(header("x", 0, tarfile.GNUTYPE_SPARSE))
    info[482] = 1
    total = sum(info[:148]) + sum(info[156:]) + 8 * 32
    info[148:156] = b"%06o\0 " % total
    return at(folder, "a.tar", bytes(info))


BOMBS: dict[Callable[[Path], list[Path]], str] = {
    nothing_but_streams: "bytes beside the files of the model",
    nothing_within_xz: "bytes beside the files of the model",
    empty_members: "streams of gzip with",
    empty_streams_of_bz2: "streams of bz2 with",
    empty_streams_of_xz: "streams of xz with",
    one_folder_a_million_times: "members, which is too much for so small an archive",
    a_million_elsewhere: "members, which is too much for so small an archive",
    headers_for_all: "more than 32 headers for all members",
    digits: "a number of more than 100 digits",
    far_ends: "a record of a header with a wrong length",
    records: "more than 32 records in the header of each member",
    extra_fields: "bytes of extra fields for 600 entries",
    one_over_the_other: "files that lie over each other",
    a_chain_of_links: "cannot be followed",
    links_that_go_round: "expected short ones",
    deletions: "members, which is too much for so small an archive",
    cut_in_a_sparse_map: "is damaged",
}


@pytest.mark.slow
@pytest.mark.parametrize("make", BOMBS)
def test_little_costs_little_and_a_stop_is_heard(
    tmp_path: Path, make: Callable[[Path], list[Path]]
) -> None:
    archives = make(tmp_path)
    child = subprocess.run(
        [sys.executable, "-c", UNPACK, str(tmp_path / "into"), *map(str, archives)],
        check=True,
        capture_output=True,
        timeout=60,
    )
    why, gap, seconds = json.loads(child.stdout)
    packed = sum(each.stat().st_size for each in archives)
    print(f"{make.__name__}: {packed} bytes, {seconds:.1f} s, unheard for {gap:.2f} s, {why}")
    assert BOMBS[make] in why
    assert gap < 1
    assert seconds < 15
