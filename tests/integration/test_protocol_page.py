"""docs/protocol.md has every call that the installed servers have, and is what `make protocol` would write."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from overbook.runtimes import install


def _quiet(_message: str, _fraction: float | None = None) -> None:
    """Nobody watches."""


ROOT = Path(__file__).parents[2]


def test_the_page_tells_of_every_call_of_the_servers() -> None:
    for name in ("mlserver", "triton"):
        install.install(name, _quiet)
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "protocol.py"), "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
