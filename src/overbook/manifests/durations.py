"""Durations: `90s`, `10m`, `1h30m`, `250ms`, `2d`, plain numbers of seconds. Arithmetic only."""

from __future__ import annotations

import math
import re
from typing import Final

from overbook.manifests.problems import shown

MAX_SECONDS: Final = 10 * 365 * 86_400.0
# Who waits for a model longer than that waits for something else.
LONGEST_WAIT: Final = 3600.0

_SECONDS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_PART: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)(ms|s|m|h|d)", re.ASCII)
_PLAIN: Final = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,12})?", re.ASCII)
_EXPECTED: Final = "expected a duration such as 90s, 10m or 1h30m, or seconds"


def parse_seconds(value: str | int | float) -> float:
    """The seconds that a duration stands for.

    Raises ValueError, with a message that names the value, when it is none, negative or above ten years.
    """
    seconds = _number(value)
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"{shown(value)} is not a duration; {_EXPECTED}, 0 or more")
    if seconds > MAX_SECONDS:
        raise ValueError(f"{shown(value)} is more than ten years; pin the model instead")
    return seconds


def parse_wait(value: str | int | float) -> float:
    """The seconds that somebody may wait for a model: more than 0, and at most `LONGEST_WAIT`.

    Raises ValueError, with a message that names the value.
    """
    seconds = _number(value)
    if not 0 < seconds <= LONGEST_WAIT:
        raise ValueError(
            f"{shown(value)} is out of range; expected more than 0 seconds and at most 1h, such as 90s or 10m"
        )
    return seconds


def _number(value: str | int | float) -> float:
    if isinstance(value, bool):
        raise ValueError(f"{str(value).lower()} is not a duration; {_EXPECTED}")
    try:
        return float(value) if not isinstance(value, str) else _read(value)
    except OverflowError:
        return math.inf


def _read(text: str) -> float:
    if _PLAIN.fullmatch(text):
        return float(text)
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{shown(text)} is not a duration; {_EXPECTED}")
    return math.fsum(float(number) * _SECONDS[unit] for number, unit in parts)
