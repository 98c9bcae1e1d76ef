"""What is read of an answer in JSON, and what is refused before it costs more than it is worth."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overbook.artifacts.sources.web.json_answers import read_json

MIB = 1024 * 1024
FILES = [
    {
        "rfilename": f"{number}.bin",
        "size": 2**53,
        "blobId": "0" * 40,
        "lfs": {"sha256": "0" * 64, "size": 2**53, "pointerSize": 134},
    }
    for number in range(20_000)
]


@pytest.mark.parametrize(
    "value", [{"a": [1, -2, 1.5e300, None, True, "x,y:z"]}, [], "text", {"siblings": FILES}]
)
def test_what_servers_say_is_read(value: object) -> None:
    assert read_json(json.dumps(value).encode()) == value


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"[" * 100_000, "too deep"),
        (b'{"a":' * 100_000, "too deep"),
        (b"[" * 8 * MIB, "more than 400000 values"),
        (b"[" + b"[]," * MIB + b"0]", "more than 400000 values"),
        (b"[" + b"1," * MIB + b"0]", "more than 400000 values"),
        (b"[" + b"9" * 41 + b"]", "is no number"),
        (b"[0." + b"1" * 8 * MIB + b"]", "is no number"),
        (b"[NaN]", "NaN is no number"),
        (b"<html>", "Expecting value"),
        (b"\xff", "."),
        (b"", "Expecting value"),
    ],
)
def test_what_is_refused(body: bytes, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_json(body)


def test_many_long_numbers_take_no_time() -> None:
    """Each below what Python reads, all together more than half a second."""
    body = b"[" + (b"9" * 4300 + b",") * 1900 + b"0]"
    began = time.thread_time()
    with pytest.raises(ValueError, match="is no number"):
        read_json(body)
    assert time.thread_time() - began < 0.1


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.sampled_from(
            ["[", "{", "]", "}", '"', ",", ":", "1", "-", "e9", "\\\\", "\\ud800", "null"]
        ),
        min_size=1,
        max_size=5,
    )
)
def test_nothing_but_value_errors(parts: list[str]) -> None:
    shape = "".join(parts)
    for begun in ("", "[", '{"a":', '["'):
        body = (begun + shape * (64 * 1024 // len(shape))).encode()
        began = time.thread_time()
        try:
            read_json(body)
        except ValueError:
            pass
        assert time.thread_time() - began < 0.5
