"""Bombs: archives of a few megabytes that say gigabytes or millions. Memory, disk and time are measured in a process of
their own."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

BOUND = 64 << 20
WORK = """
import json, sys, time
from pathlib import Path
from overbook.artifacts.archives import Bounds, unpack, unpacked_bytes
from overbook.artifacts.errors import ArtifactError

# Bytes of memory that this process has had at most.
def most() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(each.split()[1] for each in lines if each.startswith("VmHWM"))) << 10

before = most()
started, why = time.monotonic(), ""
try:
    if sys.argv[4] == "count":
        unpacked_bytes(Path(sys.argv[1]), Bounds(int(sys.argv[3])), lambda: None)
    else:
        unpack(Path(sys.argv[1]), Path(sys.argv[2]), Bounds(int(sys.argv[3])), lambda: None)
except ArtifactError as error:
    why = str(error)
print(json.dumps([why, most() - before, time.monotonic() - started]))
"""


def header(name: bytes, size: int, type: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name.decode())
    info.size, info.type = size, type
    return info.tobuf(tarfile.GNU_FORMAT)


def packed(chunks: Iterator[bytes], window: int) -> Iterator[bytes]:
    packer = zlib.compressobj(6, zlib.DEFLATED, window)
    for chunk in chunks:
        yield packer.compress(chunk)
    yield packer.flush()


def zeros(count: int) -> Iterator[bytes]:
    """Streams of gzip of 64 MiB each, packed once."""
    one = b"".join(packed(iter([bytes(64 << 20)]), 31))
    for _ in range(count >> 26):
        yield one


def tar_gz(path: Path) -> None:
    with open(path, "wb") as file:
        file.writelines(packed(iter([header(b"x", 10 << 30)]), 31))
        file.writelines(zeros(10 << 30))


def long_header(path: Path) -> None:
    with open(path, "wb") as file:
        file.writelines(packed(iter([header(b"x", 7 << 30, tarfile.XHDTYPE)]), 31))
        file.writelines(zeros(7 << 30))


def zipped(path: Path) -> None:
    """Of 3 GiB: pieces that follow each other in one stream, each complete in itself."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    piece = packer.compress(bytes(64 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    data, size = piece * 48 + b"\x03\x00", 48 << 26
    common = struct.pack("<5H3L2H", 20, 0, 8, 0, 0, 0, len(data), size, 1, 0)
    directory = b"PK\x01\x02\x14\x00" + common + struct.pack("<3H2L", 0, 0, 0, 0, 0) + b"x"
    with open(path, "wb") as file:
        file.write(b"PK\x03\x04" + common + b"x" + data)
        end = file.tell()
        file.write(directory)
        file.write(b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, 1, 1, len(directory), end, 0))


def million_in_tar(path: Path) -> None:
    template = header(b"n00000000", 0)
    checksum = int(template[148:154], 8) - sum(b"00000000")

    def headers() -> Iterator[bytes]:
        for number in range(1_000_000):
            digits = b"%08d" % number
            told = b"%06o" % (checksum + sum(digits))
            yield b"".join((b"n", digits, template[9:148], told, template[154:]))

    with open(path, "wb") as file:
        file.writelines(packed(headers(), 31))


def million_in_zip(path: Path) -> None:
    common = struct.pack("<5H3L2H", 20, 0, 0, 0, 0, 0, 0, 0, 9, 0)
    first = b"PK\x03\x04" + common + b"n00000000"
    start = b"PK\x01\x02\x14\x00" + common + struct.pack("<3H2L", 0, 0, 0, 0, 0)
    directory = b"".join(b"%bn%08d" % (start, number) for number in range(1_000_000))
    end = struct.pack("<4H2LH", 0, 0, 0xFFFF, 0xFFFF, len(directory), len(first), 0)
    path.write_bytes(first + directory + b"PK\x05\x06" + end)


BOMBS: dict[Callable[[Path], None], str] = {
    tar_gz: f"more than {BOUND} bytes",
    zipped: f"more than {BOUND} bytes",
    long_header: "a header of more than 256 KiB",
    million_in_tar: "more than 20000 entries",
    million_in_zip: "more than 20000 entries",
}


@pytest.mark.slow
@pytest.mark.parametrize("how", ["count", "unpack"])
@pytest.mark.parametrize("make", BOMBS)
def test_a_bomb_costs_no_more_than_its_bounds(
    tmp_path: Path, make: Callable[[Path], None], how: str
) -> None:
    archive, into = tmp_path / "bomb", tmp_path / "into"
    make(archive)
    assert archive.stat().st_size < 80 << 20
    child = subprocess.run(
        [sys.executable, "-c", WORK, str(archive), str(into), str(BOUND), how],
        check=True,
        capture_output=True,
        timeout=300,
    )
    why, grown, seconds = json.loads(child.stdout)
    assert BOMBS[make] in why
    lying = [each.lstat() for each in into.rglob("*")]
    print(
        f"{how} {make.__name__}: {grown >> 20} MiB of memory, {len(lying)} entries, {seconds:.1f} s"
    )
    assert grown < 64 << 20
    assert sum(each.st_blocks for each in lying) * 512 <= BOUND + (1 << 20)
    assert len(lying) <= 20_000
    assert seconds < 60
