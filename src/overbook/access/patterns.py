"""Patterns of models' names: `*` stands for any characters, everything else for itself. Pure.

The gateway's script matches the same patterns (lua/tokens.lua), so there is nothing in them that Lua and Python could
read differently.
"""

from __future__ import annotations

import re
from typing import Final

# More than two `*` would cost the gateway's script more than anybody needs them.
_FORM: Final = re.compile(r"(?=[^*]*(\*[^*]*){0,2}\Z)[A-Za-z0-9_.*-]{1,253}")
# Of one token.
MOST: Final = 32


def problem(pattern: str) -> str:
    """Why it is no pattern, or ""."""
    if _FORM.fullmatch(pattern):
        return ""
    return "expected a model's name in which one or two `*` may stand for any characters, such as team-a-*"


def matches(pattern: str, model: str) -> bool:
    """Whether the whole name is of this form."""
    first, *middle = pattern.split("*")
    if not middle:
        return model == pattern
    *middle, last = middle
    if (
        not model.startswith(first)
        or len(model) < len(first) + len(last)
        or not model.endswith(last)
    ):
        return False
    at, end = len(first), len(model) - len(last)
    for piece in middle:
        # The first place is as good as any: what follows has the most room then.
        found = model.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True
