"""Which runtime a model's files are made for, as far as their names tell. Pure.

Weights alone tell nothing: an ONNX file is read by several. What a server is told beside them does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

_SIGNS: Final = {
    "mlserver": re.compile(r"(.*/)?model-settings\.json"),
    "triton": re.compile(r"(.*/)?(config\.pbtxt|[0-9]+/model\.py)"),
}


def made_for(names: Iterable[str]) -> str:
    """The runtime, or "" when the names (relative paths) point to none or to several."""
    every = tuple(names)
    found = [
        runtime for runtime, sign in _SIGNS.items() if any(sign.fullmatch(each) for each in every)
    ]
    return found[0] if len(found) == 1 else ""
