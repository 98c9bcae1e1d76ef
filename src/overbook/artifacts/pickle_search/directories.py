"""Whether a zip has one directory to all who read it.

Python's zipfile takes the one right before the end. Others, as torch, go to where the end says that it is; what they
find there may be another one, with pickles that zipfile never sees.
"""

from __future__ import annotations

import os
import zipfile
from typing import BinaryIO, Final

END: Final = b"PK\x05\x06"
_END_BYTES: Final = 22
_OFFSET_AT: Final = 16
# Bytes of the file that the end is looked for in: a comment of 64 KiB may follow it.
END_MOST: Final = (64 << 10) + _END_BYTES
# Of archives beyond 4 GiB: another end, then what leads to that.
_LOCATOR: Final = b"PK\x06\x07"
_LOCATOR_BYTES: Final = 20
_LARGE_BYTES: Final = 56
_LARGE_OFFSET_AT: Final = 48
_BEFORE: Final = _LOCATOR_BYTES + _LARGE_BYTES


def is_elsewhere(file: BinaryIO, archive: zipfile.ZipFile) -> bool:
    """``archive``: as zipfile has opened the file. Raises OSError."""
    size = file.seek(0, os.SEEK_END)
    base = max(0, size - END_MOST - _BEFORE)
    file.seek(base)
    tail = file.read()
    end = len(tail) - _END_BYTES
    # As zipfile looks for it: without a comment first.
    if not (tail.startswith(END, end) and tail.endswith(b"\0\0")):
        end = tail.rfind(END)
    locator = tail[max(0, end - _LOCATOR_BYTES) : end]
    if not locator.startswith(_LOCATOR):
        return _number(tail, end + _OFFSET_AT, 4) != archive.start_dir
    large = end - _BEFORE
    return (
        _number(locator, 8, 8) != base + large
        or _number(tail, large + _LARGE_OFFSET_AT, 8) != archive.start_dir
    )


def _number(data: bytes, at: int, length: int) -> int:
    return int.from_bytes(data[at : at + length], "little")
