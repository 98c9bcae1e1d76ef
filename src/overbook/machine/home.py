"""Where state and runtimes go when nobody says: below the user's home folder, if there is one.

Some clusters run containers as a user without an entry in the passwd file and without HOME.
"""

from __future__ import annotations

import os
from pathlib import Path

from overbook.machine.folders import StateUnusable
from overbook.machine.options import default_state_dir

_RUNTIMES = "OVERBOOK_RUNTIMES_DIR"
_UV_CACHE = "UV_CACHE_DIR"


def state_folder(given: Path | None) -> Path:
    """The state folder, absolute. Without a home folder runtimes go there too, and what uv downloads for them, unless
    the environment says where else. Raises StateUnusable when neither is told.
    """
    home = _home()
    if home is not None:
        return (given or default_state_dir(os.environ, home)).absolute()
    nowhere = Path("/nonexistent")
    chosen = given or default_state_dir(os.environ, nowhere)
    if chosen.is_relative_to(nowhere):
        raise StateUnusable(
            f"there is no home folder to keep state in: HOME is not set, and user {os.getuid()} has no entry in the "
            "passwd file; give a folder with --state-dir, or set OVERBOOK_STATE_DIR or HOME"
        )
    folder = chosen.absolute()
    if not os.environ.get("XDG_DATA_HOME"):
        os.environ.setdefault(_RUNTIMES, str(folder / "runtimes"))
    if not os.environ.get("XDG_CACHE_HOME"):
        os.environ.setdefault(_UV_CACHE, str(folder / "downloads"))
    return folder


def _home() -> Path | None:
    try:
        return Path.home()
    except RuntimeError:
        return None
