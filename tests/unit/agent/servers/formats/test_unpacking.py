"""Heads and sizes of packed files, compared with what was packed; and bounds for files that mean ill."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overbook.agent.servers.formats.errors import FormatError
from overbook.agent.servers.formats.unpacking import MOST, Unpacked, unpack
from overbook.artifacts.compressed import compression_of

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "zlib": zlib.compress,
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda content: lzma.compress(content, format=lzma.FORMAT_ALONE),
}
PLAIN = b"".join(b"%d " % (number * number) for number in range(20_000))


def unpacked(content: bytes, head: int = 100) -> Unpacked:
    return unpack(io.BytesIO(content), compression_of(content), len(content), head)


@pytest.mark.parametrize("compression", PACKERS)
def test_head_and_size(compression: str) -> None:
    packed = PACKERS[compression](PLAIN)
    assert compression_of(packed) == compression
    assert unpacked(packed) == Unpacked(PLAIN[:100], len(PLAIN))
    assert unpacked(packed, 10**6) == Unpacked(PLAIN, len(PLAIN))


@pytest.mark.parametrize("level", [0, 1, 6, 9])
def test_zlib_is_known_at_every_level(level: int) -> None:
    assert compression_of(zlib.compress(PLAIN, level)) == "zlib"


def test_beyond_the_bound_the_rest_is_taken_to_be_like_what_was_seen() -> None:
    size = 3 * MOST
    packed = zlib.compress(PLAIN * (size // len(PLAIN)), 1)
    assert unpacked(packed).bytes == pytest.approx(size, rel=0.01)


def test_a_bomb_takes_neither_memory_nor_time() -> None:
    packed = bz2.compress(bytes(MOST))
    tracemalloc.start()
    try:
        unpacked(packed)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_dictionary_of_gigabytes_is_not_made() -> None:
    packed = bytearray(PACKERS["lzma"](PLAIN))
    packed[1:5] = (0xFFFF0000).to_bytes(4, "little")
    with pytest.raises(FormatError, match="cannot be unpacked"):
        unpacked(bytes(packed))


def test_what_nothing_unpacks() -> None:
    with pytest.raises(FormatError, match="lz4"):
        unpacked(b"\x04\x22\x4d\x18 and so on")
    assert compression_of(b"\x80\x04 a pickle") == ""


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(PACKERS)), st.integers(0, 2000), st.binary(max_size=8))
def test_damaged_files_raise_nothing_else(compression: str, at: int, change: bytes) -> None:
    content = bytearray(PACKERS[compression](PLAIN[:4000]))
    content[at : at + len(change)] = change
    with contextlib.suppress(FormatError):
        found = unpack(io.BytesIO(bytes(content[: at + 500])), compression, len(content), 50)
        assert len(found.head) <= 50
