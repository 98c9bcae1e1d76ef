"""Whether a file of NumPy's (`.npy`) holds objects: these are a pickle, behind a header that says so."""

from __future__ import annotations

import ast
from typing import Final

MAGIC: Final = b"\x93NUMPY"
# NumPy reads no longer header unless it is told to.
_LONGEST: Final = 10_000


def holds_objects(head: bytes) -> bool:
    """``head``: the first bytes, 64 KiB where there are as many.

    A header that cannot be read counts as one with objects where it says anything of them.
    """
    length = int.from_bytes(head[8:10] if head[6:7] == b"\x01" else head[8:12], "little")
    begin = 10 if head[6:7] == b"\x01" else 12
    header = head[begin : begin + length]
    if length > _LONGEST:
        return b"O" in header
    try:
        described = ast.literal_eval(header.decode("latin-1").strip())
        return _of_objects(described["descr"])
    except (ValueError, SyntaxError, LookupError, TypeError, RecursionError, MemoryError):
        return b"O" in header


def _of_objects(described: object) -> bool:
    """Of a type as NumPy describes it: a word, or the fields of a record."""
    if isinstance(described, str):
        # No other type has this letter, nor this word.
        return "O" in described or "object" in described
    if isinstance(described, list):
        # Of each field the name comes first.
        return any(
            any(map(_of_objects, each[1:])) if isinstance(each, tuple) else _of_objects(each)
            for each in described
        )
    # A type and its shape.
    return isinstance(described, tuple) and any(map(_of_objects, described))
