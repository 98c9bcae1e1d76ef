"""The script that sees that a compressed body becomes nothing large: what it says so of goes to a server unasked."""

from __future__ import annotations

import gzip
import random
import zlib
from collections.abc import Callable
from typing import Final

import pytest

from overbook.gateway.scripts import read_scripts
from overbook.gateway.snapshot.names import KNOWN_SMALL
from overbook.wire.limits import MAX_LOOKED_AT
from tests.unit.gateway.lua.envoy import Script

SCRIPT: Final = Script(read_scripts().size_rest)
_LONG: Final = random.Random(1).randbytes(MAX_LOOKED_AT)


def known_small(body: bytes | None, coding: str) -> bool:
    """Whether it says so."""
    ran = SCRIPT.request({"content-encoding": coding}, body)
    assert ran.refusal is None
    assert ran.metadata in ({}, {KNOWN_SMALL: True})
    return bool(ran.metadata)


@pytest.mark.parametrize(
    ("coding", "compress"), [("gzip", gzip.compress), ("deflate", zlib.compress)]
)
def test_a_small_body_is_known(coding: str, compress: Callable[[bytes], bytes]) -> None:
    assert known_small(compress(b'{"inputs": []}' * 100), coding)
    assert known_small(compress(_LONG[:-100]), coding)


def test_there_is_nothing_to_inflate_in_no_body() -> None:
    assert known_small(None, "gzip")
    assert known_small(b"", "gzip")


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(_LONG)),
        ("gzip", gzip.compress(bytes(10_000_000))),
        ("gzip", gzip.compress(b"") * 2),
        ("gzip", gzip.compress(b"x")[:-1]),
        ("gzip", b"no"),
        ("gzip", zlib.compress(b"x")),
        ("deflate", gzip.compress(b"x")),
        ("deflate", zlib.compress(b"x")[2:-4]),
        ("br", b"x"),
        ("identity", b"x"),
    ],
)
def test_of_any_other_it_says_nothing(coding: str, body: bytes) -> None:
    assert not known_small(body, coding)
