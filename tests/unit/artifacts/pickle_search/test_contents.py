"""Pickles are found in what is compressed as the most patient of readers would find them, damaged or not."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import json
import lzma
import os
import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import joblib
import pytest

from overbook.artifacts.pickle_search.contents import has_pickle
from tests.unit.artifacts.hostile import member, tar

_CALL = b"cposix\nmkdir\n(S'PATH'\ntR."
_ALONE = [{"id": lzma.FILTER_LZMA1, "lc": 0, "lp": 0, "pb": 0, "dict_size": 1 << 16}]


def found_in(path: Path, content: bytes) -> bool:
    path.write_bytes(content)
    with path.open("rb") as file:
        return has_pickle(file, lambda: None)


def _joblib_former(length: bytes) -> Callable[[bytes], bytes]:
    return lambda program: b"ZF" + (length % len(program)).ljust(19) + zlib.compress(program)


def _damaged(window: int) -> Callable[[bytes], bytes]:
    """As joblib reads it, 1 MiB at a time of 8 KiB that are packed, the call comes before what is damaged."""

    def pack(program: bytes) -> bytes:
        packer = zlib.compressobj(9, zlib.DEFLATED, window)
        packed = bytearray()
        unpacked = 0

        def put(data: bytes) -> None:
            nonlocal unpacked, packed
            unpacked += len(data)
            packed += packer.compress(data) + packer.flush(zlib.Z_FULL_FLUSH)

        put(b"V" + b"A" * ((1 << 20) - 40_000))
        while len(packed) < 15_950:
            put(os.urandom(100).hex().encode())
        put(b"A" * ((1 << 20) - unpacked - 500) + b"\n0" + program)
        while len(packed) < 25_200:
            put(os.urandom(500))
        return bytes(packed) + b"\x07" * 64

    return pack


def _alone(program: bytes) -> bytes:
    return lzma.compress(program, lzma.FORMAT_ALONE)


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "joblib's former format": _joblib_former(b"0x%x"),
    "without 0x": _joblib_former(b"%x"),
    "with 0X": _joblib_former(b"0X%x"),
    "with a sign": _joblib_former(b"+%x"),
    "damaged behind, zlib": _damaged(15),
    "damaged behind, gzip": _damaged(31),
    "xz and then lzma": lambda program: lzma.compress(b"") + _alone(program),
    "lzma and then xz": lambda program: _alone(b"") + lzma.compress(program),
    # Its first byte is a zero, as what fills up an xz file.
    "xz and then lzma of another kind": lambda program: (
        lzma.compress(b"") + lzma.compress(program, lzma.FORMAT_ALONE, filters=_ALONE)
    ),
    "half in xz": lambda program: lzma.compress(program[:20]) + _alone(program[20:]),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("pack", PACKED.values(), ids=PACKED)
def test_what_joblib_unpacks(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    made = tmp_path / "made"
    path = tmp_path / "model"
    assert found_in(path, pack(_CALL.replace(b"PATH", str(made).encode())))
    with contextlib.suppress(Exception):
        joblib.load(path)
    assert made.exists()


def test_what_is_read_in_small_steps_before_the_damage(tmp_path: Path) -> None:
    made = tmp_path / "made"
    path = tmp_path / "model"
    program = b"V" + b"A" * 40_000 + b"\n0" + _CALL.replace(b"PATH", str(made).encode())
    packed = bytearray(gzip.compress(program + b"A" * 20_000))
    packed[-8] ^= 0xFF
    assert found_in(path, bytes(packed))
    with gzip.open(path) as file, contextlib.suppress(EOFError, OSError):
        pickle.load(file)
    assert made.exists()


@pytest.mark.parametrize(
    "pack", [zlib.compress, gzip.compress, bz2.compress, lzma.compress, _alone]
)
def test_what_cannot_be_unpacked_to_its_end_counts(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    packed = pack(b"".join(b"word %d\n" % number for number in range(5000)))
    assert not found_in(tmp_path / "whole", packed)
    assert found_in(tmp_path / "cut", packed[:-1])
    # Nothing comes out of it before all of a block of bz2 is there.
    half = packed[: len(packed) // 2]
    assert found_in(tmp_path / "half", half) or pack is bz2.compress
    assert not found_in(tmp_path / "begun", packed[:9])


def test_a_tar_that_is_broken_in_its_midst_counts(tmp_path: Path) -> None:
    whole = tar(tmp_path / "whole.tar", [member("x", b"x" * 5000), member("y", b"y")]).read_bytes()
    assert not found_in(tmp_path / "whole", whole)
    assert found_in(tmp_path / "cut", whole[:3000])
    assert found_in(tmp_path / "damaged", whole[:5632] + b"?" * 512 + whole[6144:])


def test_an_xz_with_something_behind_counts(tmp_path: Path) -> None:
    packed = lzma.compress(b"")
    assert not found_in(tmp_path / "filled", packed + bytes(8))
    assert found_in(tmp_path / "followed", packed + b"something")


# Headers of so many bytes begin a file of safetensors as if it were compressed, or an array of joblib's.
@pytest.mark.parametrize("length", [0x178, 0x5E78, 0x9C78, 0xDA78, 0x5D, 0x8B1F, 0x465A])
def test_safetensors_that_begin_as_something_compressed_does(tmp_path: Path, length: int) -> None:
    header = json.dumps({"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    content = struct.pack("<Q", length) + header.ljust(length) + bytes(8)
    assert not found_in(tmp_path / "model.safetensors", content)


@pytest.mark.parametrize(
    "text", [b"x^2 + 1", b"x^y = z\n", b"BZh9 is a magic", b"ZF\nzf", b"ZFX 100"]
)
def test_texts_that_begin_as_something_compressed_does(tmp_path: Path, text: bytes) -> None:
    for times in (1, 100, 10_000):
        assert not found_in(tmp_path / "text", text * times)
