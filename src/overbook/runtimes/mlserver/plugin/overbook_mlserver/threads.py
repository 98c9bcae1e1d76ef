"""How many threads one prediction may use, for libraries that do not ask OpenMP."""

from __future__ import annotations

import os


def threads() -> int:
    """What the agent gives OpenMP; half of the machine's processors when nobody says."""
    said = os.environ.get("OMP_NUM_THREADS", "")
    return int(said) if said.isdigit() and int(said) > 0 else max(1, (os.cpu_count() or 2) // 2)
