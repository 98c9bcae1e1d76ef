"""A model file is walked as any message is, and what is wrong with it is a FormatError."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from google.protobuf import struct_pb2

from overbook.agent.servers.formats.errors import FormatError
from overbook.agent.servers.formats.protobuf import FileWalk, mapped, signed, text
from tests.unit.wire.writing import number, varint


def test_numbers_have_a_sign() -> None:
    for value in (-(1 << 63), -1, 0, 1, (1 << 63) - 1):
        assert signed(value & (1 << 64) - 1) == value


def test_a_map_that_protobuf_wrote() -> None:
    made = struct_pb2.Struct()
    made.update({"key": "value"})
    walk = FileWalk()
    (only,) = walk.messages(memoryview(made.SerializeToString()), 1)
    key, value = walk.entry(only)
    assert key == "key"
    assert text(dict(walk.fields(value))[3]) == "value"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x0a\x05ab", "field 1 ends 3 bytes after its message"),
        (b"\x0a", "ends within a number"),
        (b"\x08\x01" * 4, "it has more than 3 fields"),
    ],
)
def test_what_is_no_message_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        list(FileWalk(3).fields(memoryview(content)))


def test_text_is_utf_8() -> None:
    with pytest.raises(FormatError, match="not UTF-8: invalid start byte at its byte 1"):
        text(memoryview(b"a\xff"))
    for wrong in (3, b"1234"):
        with pytest.raises(FormatError, match="a number found"):
            text(wrong)


def test_a_field_is_a_slice_of_the_file_and_not_a_copy(tmp_path: Path) -> None:
    path = tmp_path / "big"
    with path.open("wb") as file:
        file.write(varint(9 << 3 | 2) + varint(1 << 32))
        # A hole: four gigabytes that take no room, and that nobody could read in the time of a test.
        file.truncate(file.tell() + (1 << 32))
        file.seek(0, 2)
        file.write(number(1, 8))
    found = list(FileWalk().fields(mapped(path)))
    assert [each[0] for each in found] == [9, 1]
    assert isinstance(found[0][1], memoryview)
    assert len(found[0][1]) == 1 << 32


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(FormatError, match="empty"):
        mapped(tmp_path / "empty")


def test_what_is_no_regular_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(FormatError, match="no regular file"):
            mapped(path)
