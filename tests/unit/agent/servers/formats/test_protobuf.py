"""The walker reads what protobuf writes, and refuses what it does not."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from google.protobuf import struct_pb2, wrappers_pb2
from hypothesis import given
from hypothesis import strategies as st

from overbook.agent.servers.formats.errors import FormatError
from overbook.agent.servers.formats.protobuf import Walk, fields, mapped, signed, text
from tests.unit.agent.servers.formats.writing import block, number, varint


def walk(content: bytes) -> list[tuple[int, object]]:
    return [
        (field, value if isinstance(value, int) else bytes(value))
        for field, value in fields(memoryview(content))
    ]


def test_fields_of_every_wire_type() -> None:
    content = number(1, 300) + block(2, "ab") + b"\x19" + b"12345678" + b"\x25" + b"1234"
    assert walk(content) == [(1, 300), (2, b"ab"), (3, b"12345678"), (4, b"1234")]


@given(st.integers(min_value=-(1 << 63), max_value=(1 << 63) - 1))
def test_numbers_are_those_of_protobuf(value: int) -> None:
    message = wrappers_pb2.Int64Value(value=value).SerializeToString()
    assert message == (number(1, value) if value else b"")
    assert walk(number(1, value)) == [(1, value & (1 << 64) - 1)]
    assert signed(value & (1 << 64) - 1) == value


def test_a_message_that_protobuf_wrote() -> None:
    made = struct_pb2.Struct()
    made.update({"key": "value"})
    (only,) = Walk().messages(memoryview(made.SerializeToString()), 1)
    key, value = Walk().entry(only)
    assert key == "key"
    assert text(dict(fields(value))[3]) == "value"


@given(st.binary(max_size=64))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    with contextlib.suppress(FormatError):
        assert all(field > 0 for field, _ in walk(content))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x0a\x05ab", "field 1 ends 3 bytes after its message"),
        (b"\x0a", "ends within a number"),
        (b"\x0b", "field 1 has the unknown wire type 3"),
        (b"\x08" + b"\xff" * 10, "more than 10 bytes"),
        (b"\x00\x00", "no field has the number 0"),
    ],
)
def test_what_is_no_message_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        walk(content)


def test_text_is_utf_8() -> None:
    with pytest.raises(FormatError, match="not UTF-8: invalid start byte at its byte 1"):
        text(memoryview(b"a\xff"))
    with pytest.raises(FormatError, match="the number 3 found"):
        text(3)


def test_a_field_is_a_slice_of_the_file_and_not_a_copy(tmp_path: Path) -> None:
    path = tmp_path / "big"
    with path.open("wb") as file:
        file.write(varint(9 << 3 | 2) + varint(1 << 32))
        # A hole: four gigabytes that take no room, and that nobody could read in the time of a test.
        file.truncate(file.tell() + (1 << 32))
        file.seek(0, 2)
        file.write(number(1, 8))
    found = list(fields(mapped(path)))
    assert [each[0] for each in found] == [9, 1]
    assert isinstance(found[0][1], memoryview)
    assert len(found[0][1]) == 1 << 32


def test_an_empty_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with pytest.raises(FormatError, match="empty"):
        mapped(tmp_path / "empty")


def test_a_walk_looks_at_so_many_fields_of_a_file_and_no_more() -> None:
    walk = Walk(left=3)
    tiny = memoryview(b"\x08\x01" * 2)
    assert len(list(walk.fields(tiny))) == 2
    with pytest.raises(FormatError, match="more fields"):
        list(walk.fields(tiny))


def test_what_is_no_regular_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        with pytest.raises(FormatError, match="no regular file"):
            mapped(path)
