"""What is compressed becomes what it was, and never more than is accepted."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overbook.wire.inflating import InflatedSize, InflatesToMore, inflated, is_compressed

_MOST = 3 * 1024 * 1024
_CODINGS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "zlib": zlib.compress}


def _bare(data: bytes) -> bytes:
    deflating = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return deflating.compress(data) + deflating.flush()


@pytest.mark.parametrize("coding", _CODINGS)
@pytest.mark.parametrize("size", [0, 1, 1000, _MOST])
def test_a_message_is_inflated_up_to_the_limit(coding: str, size: int) -> None:
    compressed = _CODINGS[coding](bytes(size))
    assert is_compressed(compressed)
    assert inflated(compressed, _MOST) == bytes(size)
    with pytest.raises(InflatesToMore):
        inflated(_CODINGS[coding](bytes(size)), size - 1)


@pytest.mark.parametrize("coding", _CODINGS)
def test_what_is_no_whole_stream_stays_as_it_is(coding: str) -> None:
    compressed = _CODINGS[coding](b"x" * 1000)
    for broken in (compressed[:-1], compressed[:2], compressed + b"x", compressed[:9] + b"no"):
        assert inflated(broken, _MOST) == broken


@given(st.binary())
def test_other_messages_stay_as_they_are(message: bytes) -> None:
    # As every message of the protocol that says anything: its first field is a string.
    message = b"\x0a" + message
    assert not is_compressed(message)
    assert inflated(message, 0) == message


def _add(body: bytes, most: int, step: int) -> None:
    size = InflatedSize(most)
    for at in range(0, len(body), step):
        size.add(body[at : at + step])


@pytest.mark.parametrize("step", [1, 7, 1_000_000])
@pytest.mark.parametrize("compress", [gzip.compress, zlib.compress, _bare])
def test_the_size_of_a_body_is_counted_over_chunks_and_streams(
    compress: Callable[[bytes], bytes], step: int
) -> None:
    for body in (
        compress(bytes(5000)),
        compress(b"") + compress(bytes(2000)) + compress(bytes(3000)),
    ):
        _add(body, 5000, step)
        with pytest.raises(InflatesToMore):
            _add(body, 4999, step)


def test_a_body_that_is_not_compressed_counts_as_nothing() -> None:
    _add(b'{"inputs": []}' * 1000, 0, 100)
    # Up to where it makes no sense any more.
    _add(gzip.compress(b"x" * 1000)[:-8] + b"y" * 1000, 1000, 100)


def test_streams_without_an_end_are_counted_too() -> None:
    _add(gzip.compress(b"") * 10_000, 0, 100_000)
    with pytest.raises(InflatesToMore):
        _add(gzip.compress(b"") * 10_001, 0, 100_000)
