"""Puts exceptions that nobody expected into words, for logs and conditions: of bounded length, whatever they hold.

What is expected has words of its own, where it is raised.
"""

from __future__ import annotations

import traceback
from types import TracebackType
from typing import Final

_LINE: Final = 500
_TEXT: Final = 20_000
# The innermost calls of each exception: deep recursions repeat themselves.
_CALLS: Final = -40


def in_a_line(error: BaseException) -> str:
    """Which exception it is and what it says; of a group, the first of those in it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    # Not its repr: that may hold all of a file.
    said = " ".join(str(error).split())
    return cut(f"{type(error).__name__}: {said}" if said else type(error).__name__, _LINE)


def in_full(
    kind: type[BaseException] | None, error: BaseException | None, calls: TracebackType | None
) -> str:
    """With the calls that led there, as Python writes them."""
    return cut("".join(traceback.format_exception(kind, error, calls, limit=_CALLS)).strip(), _TEXT)


def cut(text: str, most: int) -> str:
    """Of what is too long, the beginning and the end remain."""
    if len(text) <= most:
        return text
    return f"{text[: most // 2]} ... {text[-(most // 2) :]}"
