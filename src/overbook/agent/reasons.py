"""Which refusals of an inference server may be gone at the next try, by its own words. Pure.

Everything else is taken to lie in the content: the same files, loaded in the same way, are refused again.
"""

from __future__ import annotations

import re
from typing import Final

_PASSING: Final = re.compile(
    r"memoryerror|bad_?alloc|allocate memory|out of memory|no space left|disk quota|too many open files|"
    r"temporar|timed out|time-?out|connection|connect(ion)?error|network|unreachable|name resolution|"
    r"unavailable|try again|too many requests",
    re.IGNORECASE,
)


def is_passing(reason: str) -> bool:
    """Whether the reason names what the machine, the network or another service was short of."""
    return _PASSING.search(reason) is not None
