"""Reads the JSON that a server answered with, and refuses what costs more to read than it says. Pure.

An answer is bounded in bytes, and that is not enough: 8 MiB of `[],` are hundreds of MiB in memory, numbers of many
digits take their square to read, and brackets in brackets end a stack.
"""

from __future__ import annotations

import json
from typing import Final, NoReturn

from overbook.manifests.problems import Json

# As many as twenty thousand files with everything that a hub says of each have, and some more.
_MOST: Final = 400_000
_STRUCTURE: Final = (b",", b":", b"[", b"{")
# Characters of a number: those of 64 bits, and of a fraction, are shorter.
_LONGEST: Final = 40


def read_json(body: bytes) -> Json:
    """What it says. Raises ValueError for what is no JSON, too deep, or too much. A large one takes a tenth of a
    second, which is too long for the event loop.
    """
    require_few_values(body)
    try:
        found: Json = json.loads(
            body, parse_int=_int, parse_float=_float, parse_constant=_no_number
        )
    except RecursionError:
        raise ValueError("brackets lie too deep in brackets") from None
    return found


def require_few_values(body: bytes) -> None:
    """Raises ValueError where others, who have no bounds, must not read it as JSON."""
    # Those within texts count as well: reckoned, not read.
    if sum(map(body.count, _STRUCTURE)) > _MOST:
        raise ValueError(f"more than {_MOST} values")


def _int(digits: str) -> int:
    if len(digits) > _LONGEST:
        _no_number(digits)
    return int(digits)


def _float(digits: str) -> float:
    if len(digits) > _LONGEST:
        _no_number(digits)
    return float(digits)


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text[:_LONGEST]} is no number")
