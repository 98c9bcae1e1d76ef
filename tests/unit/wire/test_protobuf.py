"""The walker reads what protobuf writes, and refuses what it does not."""

from __future__ import annotations

import contextlib

import pytest
from google.protobuf import struct_pb2, wrappers_pb2
from hypothesis import given
from hypothesis import strategies as st

from overbook.wire.protobuf import MalformedMessage, TooManyFields, Walk
from tests.unit.wire.writing import block, number, varint

PLENTY = 1000


def walked(content: bytes, most: int = PLENTY) -> list[tuple[int, object]]:
    return [
        (field, bytes(value) if isinstance(value, memoryview) else value)
        for field, value in Walk(most).fields(memoryview(content))
    ]


def test_fields_of_every_wire_type() -> None:
    content = number(1, 300) + block(2, "ab") + b"\x19" + b"12345678" + b"\x25" + b"1234"
    assert walked(content) == [(1, 300), (2, b"ab"), (3, b"12345678"), (4, b"1234")]


def test_only_what_may_be_a_message_is_a_slice() -> None:
    content = memoryview(number(1, 3) + block(2, "ab") + b"\x19" + b"12345678")
    kinds = [type(value) for _, value in Walk(PLENTY).fields(content)]
    assert kinds == [int, memoryview, bytes]


@given(st.integers(min_value=-(1 << 63), max_value=(1 << 63) - 1))
def test_numbers_are_those_of_protobuf(value: int) -> None:
    message = wrappers_pb2.Int64Value(value=value).SerializeToString()
    assert message == (number(1, value) if value else b"")
    assert walked(number(1, value)) == [(1, value & (1 << 64) - 1)]


@given(st.integers(min_value=0, max_value=(1 << 70) - 1), st.integers(0, 9))
def test_numbers_may_be_longer_than_they_need_to_be(value: int, spare: int) -> None:
    written = varint(value, min(spare, 10 - len(varint(value))))
    assert walked(b"\x08" + written) == [(1, value & (1 << 64) - 1)]


def test_a_message_that_protobuf_wrote() -> None:
    made = struct_pb2.Value()
    made.list_value.values.add(string_value="a")
    walk = Walk(PLENTY)
    [(field, values)] = walk.fields(memoryview(made.SerializeToString()))
    assert isinstance(values, memoryview)
    [(_, value)] = walk.fields(values)
    assert isinstance(value, memoryview)
    assert (field, walked(bytes(value))) == (6, [(3, b"a")])


@given(st.binary(max_size=64))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    with contextlib.suppress(MalformedMessage):
        assert all(field > 0 for field, _ in walked(content))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x0a\x05ab", "field 1 ends 3 bytes after its message"),
        (b"\x0d\x00", "field 1 ends 3 bytes after its message"),
        (b"\x0a", "ends within a number"),
        (b"\x0a\x80", "ends within a number"),
        (b"\x0b", "field 1 has the unknown wire type 3"),
        (b"\x0c", "field 1 has the unknown wire type 4"),
        (b"\x0e", "field 1 has the unknown wire type 6"),
        (b"\x0f", "field 1 has the unknown wire type 7"),
        (b"\x08" + b"\xff" * 10, "more than 10 bytes"),
        (b"\x00\x00", "no field has the number 0"),
        (varint(1 << 32 | 0x0A) + b"\x01a", "no field has the number 536870913"),
        # To a decoder with numbers of 64 bits this length is 1.
        (b"\x0a" + varint(1 << 64 | 1) + b"a", "after its message"),
    ],
)
def test_what_is_no_message_is_refused(content: bytes, words: str) -> None:
    with pytest.raises(MalformedMessage, match=words):
        walked(number(1, 1) + content)


def test_a_walk_looks_at_so_many_fields_and_no_more() -> None:
    walk = Walk(5)
    inner = block(1, "a") + b"\x15" + b"1234"
    for _, value in walk.fields(memoryview(block(3, inner))):
        assert isinstance(value, memoryview)
        assert len(list(walk.fields(value))) == 2
    assert len(list(walk.fields(memoryview(inner)))) == 2
    with pytest.raises(TooManyFields, match="more than 5 fields"):
        list(walk.fields(memoryview(inner)))


def test_what_comes_after_the_last_field_is_not_read() -> None:
    assert walked(block(1, "a") * 2, most=2) == [(1, b"a")] * 2
    with pytest.raises(TooManyFields):
        walked(block(1, "a") * 2 + b"\x0b", most=2)
