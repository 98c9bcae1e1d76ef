"""Whether a file of NumPy's (`.npy`) holds objects: these are a pickle, behind a header that says so.

Types that are known to be plain are listed, and all else counts as objects: NumPy reads more headers than it writes.
"""

from __future__ import annotations

import ast
import re
import warnings
from typing import Final

MAGIC: Final = b"\x93NUMPY"
# By the version: bytes that tell the header's length, and its encoding.
_VERSIONS: Final = {
    b"\x01\x00": (2, "latin-1"),
    b"\x02\x00": (4, "latin-1"),
    b"\x03\x00": (4, "utf-8"),
}
# NumPy reads no longer header unless it is told to.
_LONGEST: Final = 10_000
# As `numpy.dtype.str` gives them: truth values, numbers, dates with their unit, texts, bytes.
_PLAIN: Final = re.compile(r"[<>|=]?[?biufcmMSUVa]\d{0,9}(\[\d{0,9}[a-zA-Z]{1,2}\])?")
# Of Python 2, which NumPy passes over.
_LONG: Final = re.compile(r"(?<=\d)L(?=[\s,)])")


def holds_objects(head: bytes) -> bool:
    """``head``: the first bytes, 64 KiB where there are as many.

    A header that cannot be read counts as one with objects.
    """
    version = head[6:8]
    if version not in _VERSIONS:
        return True
    width, encoding = _VERSIONS[version]
    begin = 8 + width
    length = int.from_bytes(head[8:begin], "little")
    if length > _LONGEST:
        return True
    try:
        header = head[begin : begin + length].decode(encoding)
        return not _is_plain(_described(header))
    except (ValueError, SyntaxError, LookupError, TypeError, RecursionError, MemoryError):
        return True


def _described(header: str) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.literal_eval(header)["descr"]
        except SyntaxError:
            return ast.literal_eval(_LONG.sub("", header))["descr"]


def _is_plain(described: object) -> bool:
    """Of a type as NumPy writes it: a word, the fields of a record, or a type and its shape."""
    if isinstance(described, str):
        return _PLAIN.fullmatch(described) is not None
    if isinstance(described, list):
        return all(map(_is_plain_field, described))
    return isinstance(described, tuple) and len(described) == 2 and _is_shaped(*described)


def _is_plain_field(field: object) -> bool:
    """Of each the name comes first, or a pair of a title and the name."""
    if not isinstance(field, tuple):
        return False
    return _is_plain(field[1]) if len(field) == 2 else len(field) == 3 and _is_shaped(*field[1:])


def _is_shaped(described: object, shape: object) -> bool:
    lengths = shape if isinstance(shape, tuple) else (shape,)
    return all(isinstance(each, int) for each in lengths) and _is_plain(described)
