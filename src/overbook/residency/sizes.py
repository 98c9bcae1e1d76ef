"""Bytes in words, for reasons that people read."""

from __future__ import annotations


def in_words(size: int) -> str:
    """``1536`` becomes ``1536 bytes (1.5 KiB)``: exact and readable."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if abs(size) >= unit:
            return f"{size} bytes ({size / unit:.1f} {name})"
    return f"{size} bytes"
