"""What the headers of an answer say about a file: which version it is, how long, from where on. Pure.

Headers are asked for by names in lower case: a plain dict of such does as well as one that does not care.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_RANGE: Final = re.compile(r"bytes (?:(\d{1,18})-\d{1,18}|\*)/(\d{1,18}|\*)")


@dataclass(frozen=True, slots=True)
class Stretch:
    """``start``: of the first byte that is sent, None for none. ``total``: bytes of the whole file, if it is told."""

    start: int | None
    total: int | None


def resumable(headers: Mapping[str, str]) -> str:
    """What If-Range may be asked with: a strong ETag, else the Last-Modified, else ""."""
    tag = headers.get("etag", "")
    return tag if tag.startswith('"') else headers.get("last-modified", "")


def validator(headers: Mapping[str, str]) -> str:
    """What tells this version from others: the ETag, be it a weak one, else the Last-Modified, else ""."""
    return headers.get("etag", "") or headers.get("last-modified", "")


def contradicts(headers: Mapping[str, str], expected: str) -> bool:
    """Whether an answer is of another version than `validator` said. One that tells nothing contradicts nothing."""
    if expected.startswith(('"', "W/")):
        found = headers.get("etag", "")
        return bool(found) and found.removeprefix("W/") != expected.removeprefix("W/")
    return bool(expected) and headers.get("last-modified", expected) != expected


def length(headers: Mapping[str, str]) -> int | None:
    """Bytes of the body, where the answer says so."""
    value = headers.get("content-length", "")
    return int(value) if re.fullmatch(r"\d{1,18}", value) else None


def is_delimited(headers: Mapping[str, str]) -> bool:
    """Whether one can tell a whole body from one that was cut off."""
    return "chunked" in headers.get("transfer-encoding", "").lower() or length(headers) is not None


def stretch(headers: Mapping[str, str]) -> Stretch | None:
    """The Content-Range; None for none, or for one that makes no sense."""
    match = _RANGE.fullmatch(headers.get("content-range", "").strip())
    if match is None:
        return None
    start, total = match.groups()
    return Stretch(None if start is None else int(start), None if total == "*" else int(total))


def encoding(headers: Mapping[str, str]) -> str:
    """ "" for bytes as they are in the file."""
    value = headers.get("content-encoding", "").strip().lower()
    return "" if value == "identity" else value
