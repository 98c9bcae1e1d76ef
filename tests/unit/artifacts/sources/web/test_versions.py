"""What headers say about a file."""

from __future__ import annotations

import pytest

from overbook.artifacts.sources.web.versions import (
    Stretch,
    contradicts,
    encoding,
    is_delimited,
    length,
    resumable,
    stretch,
)

DATE = "Mon, 30 Nov 2026 04:11:33 GMT"


def test_only_a_strong_validator_lets_a_part_be_gone_on_with() -> None:
    assert resumable({"etag": '"a"', "last-modified": DATE}) == '"a"'
    assert resumable({"etag": 'W/"a"', "last-modified": DATE}) == DATE
    assert resumable({"etag": 'W/"a"'}) == ""
    assert resumable({}) == ""


@pytest.mark.parametrize(
    ("headers", "expected", "other"),
    [
        ({"etag": '"a"'}, '"a"', False),
        ({"etag": 'W/"a"'}, '"a"', False),
        ({"etag": '"b"'}, '"a"', True),
        ({"etag": '"b"'}, 'W/"a"', True),
        ({}, '"a"', False),
        ({"last-modified": DATE}, DATE, False),
        ({"last-modified": "other"}, DATE, True),
        ({}, DATE, False),
        ({"etag": '"b"', "last-modified": "other"}, "", False),
    ],
)
def test_another_version_is_seen(headers: dict[str, str], expected: str, other: bool) -> None:
    assert contradicts(headers, expected) is other


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("bytes 10-20/30", Stretch(10, 30)),
        ("bytes 10-20/*", Stretch(10, None)),
        ("bytes */30", Stretch(None, 30)),
        ("bytes 10-/30", None),
        ("lines 1-2/3", None),
        ("", None),
    ],
)
def test_ranges_are_read(value: str, found: Stretch | None) -> None:
    assert stretch({"content-range": value}) == found


def test_the_end_of_a_body_is_told_by_its_length_or_its_chunks() -> None:
    assert is_delimited({"content-length": "5"})
    assert is_delimited({"transfer-encoding": "chunked"})
    assert not is_delimited({})
    assert length({"content-length": "-5"}) is None
    assert length({"content-length": "5"}) == 5


def test_identity_is_no_encoding() -> None:
    assert encoding({"content-encoding": "Identity"}) == ""
    assert encoding({"content-encoding": "gzip"}) == "gzip"
    assert encoding({}) == ""
