"""Streams out of compressed files, in pieces, with all that follow the first."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import lzma
import os
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overbook.artifacts.compressed import Decompressed, TooCostly, Undecodable, compression_of

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "zlib": zlib.compress,
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
}
PLAIN = b"weights " * 10_000 + os.urandom(20_000)


def unpacked(data: bytes, most: int = 10_000) -> bytes:
    stream = Decompressed(io.BytesIO(data), compression_of(data), "model.tar")
    parts = []
    while part := stream.read(most):
        assert len(part) <= most
        parts.append(part)
    return b"".join(parts)


@pytest.mark.parametrize("name", PACKERS)
def test_what_was_packed_comes_out(name: str) -> None:
    packed = PACKERS[name](PLAIN)
    assert compression_of(packed) == name
    assert unpacked(packed) == PLAIN
    assert unpacked(packed, 1 << 30) == PLAIN


@pytest.mark.parametrize("name", ["gzip", "bz2", "xz"])
def test_streams_after_each_other(name: str) -> None:
    pack = PACKERS[name]
    assert unpacked(pack(b"one ") + pack(b"") + pack(b"two ") + bytes(8)) == b"one two "
    assert unpacked(pack(PLAIN) + pack(PLAIN)) == PLAIN * 2
    # Zeros between them, up to the next read of the file.
    assert unpacked(pack(b"one ") + bytes(70_000) + pack(b"two ")) == b"one two "
    assert unpacked(pack(b"one") + b"what follows is nobody's") == b"one"


@pytest.mark.parametrize(("first", "second"), [("xz", "lzma"), ("lzma", "xz"), ("lzma", "lzma")])
def test_streams_that_python_takes_for_one_file(first: str, second: str) -> None:
    packed = PACKERS[first](b"one ") + PACKERS[second](b"two")
    assert lzma.decompress(packed) == unpacked(packed) == b"one two"


@pytest.mark.parametrize("name", ["xz", "lzma"])
def test_something_behind_that_may_be_one_more_is_told(name: str) -> None:
    packed = PACKERS[name](b"one")
    for behind, followed in (
        (b"", False),
        (bytes(9), False),
        (b"two", True),
        (bytes(9) + b"two", True),
    ):
        stream = Decompressed(io.BytesIO(packed + behind), name, "model.tar")
        assert stream.read(1) + stream.read(10) + stream.read(10) == b"one"
        assert (stream.came, stream.followed) == (3, followed)


@pytest.mark.parametrize("name", ["zlib", "gzip"])
def test_what_comes_before_damaged_bytes_is_given(name: str) -> None:
    """As much as comes to who gives the bytes one by one, and takes them so."""
    packed = bytearray(PACKERS[name](PLAIN[-30_000:]))
    for at in range(2_000, len(packed), 1_999):
        damaged = bytes(packed[:at]) + b"\xff\x07" * 50
        stream = Decompressed(io.BytesIO(damaged), name, "model.tar")
        came = bytearray()
        with contextlib.suppress(Undecodable):
            while part := stream.read(10_000):
                came += part
        with pytest.raises(Undecodable):
            stream.read(1)
        slowly = zlib.decompressobj(47)
        expected = bytearray()
        with contextlib.suppress(zlib.error):
            for each in damaged:
                part = slowly.decompress(bytes((each,)), 1)
                while part:
                    expected += part
                    part = slowly.decompress(slowly.unconsumed_tail, 1)
        assert came == expected
        assert stream.came == len(expected) > 0


@pytest.mark.parametrize("name", PACKERS)
def test_what_is_cut_off_is_told(name: str) -> None:
    packed = PACKERS[name](PLAIN)
    for length in (3, 100, len(packed) // 2, len(packed) - 1):
        if compression_of(packed[:length]) and length > 3:
            with pytest.raises(Undecodable, match=r"^model\.tar "):
                unpacked(packed[:length])


@pytest.mark.parametrize("name", ["zlib", "gzip", "bz2", "xz"])
def test_what_is_damaged_is_told(name: str) -> None:
    packed = bytearray(PACKERS[name](PLAIN))
    packed[len(packed) // 2] ^= 255
    with pytest.raises(Undecodable):
        unpacked(bytes(packed))


def test_a_dictionary_that_would_fill_the_memory() -> None:
    packed = bytearray(lzma.compress(b"x", lzma.FORMAT_ALONE))
    packed[1:5] = (1 << 30).to_bytes(4, "little")
    with pytest.raises(TooCostly):
        unpacked(bytes(packed))


@given(st.binary(max_size=300), st.sampled_from(sorted(PACKERS)), st.integers(1, 99))
def test_any_bytes_in_any_pieces(data: bytes, name: str, most: int) -> None:
    assert unpacked(PACKERS[name](data), most) == data
