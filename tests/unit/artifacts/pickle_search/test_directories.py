"""A zip that has one directory for zipfile and another one for others counts as one with pickles."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from pathlib import Path

import pytest

from overbook.artifacts.pickle_search.contents import has_pickle
from overbook.artifacts.pickle_search.directories import is_elsewhere

_END_BYTES = 22


def packed(content: bytes, comment: bytes = b"") -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr("data.pkl", content)
        archive.comment = comment
    return written.getvalue()


def elsewhere(data: bytes) -> bool:
    file = io.BytesIO(data)
    with zipfile.ZipFile(file) as archive:
        return is_elsewhere(file, archive)


def large(data: bytes) -> bytes:
    """With an end as of an archive beyond 4 GiB."""
    end = data[-_END_BYTES:]
    count, size, begin = struct.unpack_from("<HII", end, 10)
    before = data[:-_END_BYTES]
    record = struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, count, count, size, begin)
    locator = struct.pack("<IIQI", 0x07064B50, 0, len(before), 1)
    return before + record + locator + end


def two_directories() -> bytes:
    """One for zipfile, of a text, and one for who goes where the end says, of a pickle."""
    evil = packed(pickle.dumps({"a": 1}))
    harmless = packed(b"nothing")
    _, evil_size, evil_begin = struct.unpack_from("<HII", evil, len(evil) - 12)
    _, size, _ = struct.unpack_from("<HII", harmless, len(harmless) - 12)
    assert size == evil_size
    front = evil[:-_END_BYTES]
    data = bytearray(front + harmless)
    directory = len(data) - _END_BYTES - size
    # zipfile adds as many bytes to where each file lies as it believes to stand before the archive.
    believed = directory - evil_begin
    file_at = directory + 42
    struct.pack_into("<i", data, file_at, len(front) - believed)
    struct.pack_into("<I", data, len(data) - 6, evil_begin)
    return bytes(data)


@pytest.mark.parametrize("comment", [b"", b"a comment", b"x" * 65_535])
def test_a_directory_where_the_end_says(comment: bytes) -> None:
    assert not elsewhere(packed(b"nothing", comment))


def test_a_directory_of_a_large_archive() -> None:
    data = large(packed(b"nothing"))
    assert not elsewhere(data)
    for at in (len(data) - _END_BYTES - 12, len(data) - _END_BYTES - 20 - 8):
        changed = bytearray(data)
        changed[at] ^= 1
        assert elsewhere(bytes(changed))


def test_two_directories(tmp_path: Path) -> None:
    data = two_directories()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.read("data.pkl") == b"nothing"
    assert elsewhere(data)
    path = tmp_path / "model.pt"
    for content, found in ((data, True), (packed(b"nothing"), False)):
        path.write_bytes(content)
        with path.open("rb") as file:
            assert has_pickle(file, lambda: None) is found
