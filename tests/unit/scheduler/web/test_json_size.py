"""What is in a JSON text is counted without building it, and never as less than there is."""

from __future__ import annotations

import json
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overbook.scheduler.web.json_size import excess

Value: TypeAlias = "bool | int | str | list[Value] | dict[str, Value] | None"

# Text in which brackets, commas, quotes and backslashes abound.
WORDS = st.text(st.sampled_from('[]{},:"\\ax\n'), max_size=8)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), WORDS),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(WORDS, inner, max_size=4)),
    max_leaves=30,
)


def count(value: Value) -> int:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(count, inside))


def depth(value: Value) -> int:
    if not isinstance(value, (list, dict)):
        return 0
    inside = value.values() if isinstance(value, dict) else value
    return 1 + max(map(depth, inside), default=0)


@given(VALUES, st.sampled_from([None, 2]))
def test_what_is_counted_is_what_there_is(value: Value, indent: int | None) -> None:
    text = json.dumps(value, indent=indent).encode()
    there, deep = count(value), depth(value)
    # What is empty counts twice.
    assert excess(text, values=2 * there + 1, depth=deep) == ""
    assert excess(text, values=there - 1, depth=deep) != ""
    if deep:
        assert excess(text, values=2 * there + 1, depth=deep - 1) == f"is more than {deep - 1} deep"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"[" + b"{}," * 100, "has more than 50 values"),
        (b'["",' * 200, "has more than 50 values"),
        (b'"' * 200 + b"," * 20, ""),
        (b'["' + b"[," * 500 + b'"]', ""),
        (b'["\\"' + b"[," * 500 + b'\\\\"]', ""),
        (b'["\\\\"' + b",1" * 50 + b"]", "has more than 50 values"),
        (b"[" * 11, "is more than 10 deep"),
        (b"[" * 10, ""),
        ("[1]".encode("utf-16"), "is not JSON in UTF-8"),
        ("[1]".encode("utf-32-be"), "is not JSON in UTF-8"),
    ],
)
def test_what_is_too_much(text: bytes, why: str) -> None:
    assert excess(text, values=50, depth=10) == why


def test_text_that_is_no_json_is_left_to_the_parser() -> None:
    for text in (b"", b"{", b'"', b'"\\', b"]]]]", b"\xff\xfe"):
        assert excess(text, values=5, depth=2) == ""
