"""When a request is worth another try, and how long to wait before it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

from overbook.artifacts.errors import LONGEST_RETRY_AFTER, SourceError, Trouble

_RETRIED: Final = frozenset({Trouble.UNREACHABLE, Trouble.BUSY})
_LONGEST_BACKOFF: Final = 20.0  # seconds


@dataclass(frozen=True, slots=True)
class Manners:
    """How patient one call is with a server. In seconds: ``silence``, after which a connection that gives nothing is
    cut; ``answer``, within which something small is to be here; ``backoff``, about the first wait, which then doubles;
    ``patience``, the longest Retry-After that is waited for within a call. ``tries``: how often the same is asked
    without getting any further.
    """

    silence: float = 60.0
    answer: float = 120.0
    backoff: float = 0.5
    patience: float = 60.0
    tries: int = 4

    def wait_after(self, error: SourceError, tries: int, roll: float) -> float | None:
        """Seconds until the next try; None where there is none. ``tries``: those that failed so far, at least 1.
        ``roll``: from 0 to 1, so that not all who failed come back together.
        """
        if error.trouble not in _RETRIED or tries >= self.tries:
            return None
        backoff = min(_LONGEST_BACKOFF, self.backoff * 2.0 ** (tries - 1)) * (0.5 + roll)
        if error.retry_after is None:
            return backoff
        if error.retry_after > self.patience:
            return None
        return error.retry_after + backoff * roll


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds that we wait because a server asks for it, which is an hour at most; None where it names none. ``now``:
    Unix time, in seconds, which counts only where the server does not tell its own. Headers are asked for by names in
    lower case.
    """
    value = headers.get("retry-after", "").strip()
    if value.isascii() and value.isdigit():
        return min(LONGEST_RETRY_AFTER, float(value[:9]))
    until = _unix_time(value)
    if until is None:
        return None
    served = _unix_time(headers.get("date", ""))
    return min(LONGEST_RETRY_AFTER, max(0.0, until - (now if served is None else served)))


def _unix_time(date: str) -> float | None:
    try:
        return parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError):
        return None
