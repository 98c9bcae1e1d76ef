"""The content of a model that was loaded last: it stands for the model until a newer one has been loaded once.

When it is taken is `next_load.fallback`'s to say, and what follows from its failures `core`'s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(slots=True)
class Good:
    """Sizes in bytes: ``size`` in memory, ``peak`` for a moment while it loads. ``failures``: of its loads since, in
    a row; before ``retry_at`` (seconds on the caller's clock) it is not tried again, and ``failure`` says why.
    ``made_way``: it left as there is no room for both; the next load takes the newest, though that failed before.
    """

    generation: int
    size: int
    peak: int = 0
    failures: int = 0
    retry_at: float = -math.inf
    failure: str = ""
    made_way: bool = False
