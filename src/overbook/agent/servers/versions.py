"""Compares the versions that a model was saved with to those of the environment that it is loaded in."""

from __future__ import annotations

import logging
from pathlib import Path

from overbook.agent.servers.formats.saved_with import saved_with
from overbook.runtimes.installed import installed

log = logging.getLogger(__name__)

_PACKAGE = "scikit-learn"


class Versions:
    """Those of one environment, which never change; ``root``: its folder."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._here: str | None = None

    def difference(self, folder: Path) -> str:
        """In words how the model in the folder was saved with another version than is here; "" when it was not, or
        nothing tells. Reads files; raises nothing.
        """
        try:
            saved = saved_with(folder)
        # It was made by somebody else, and what it says is wanted only to explain.
        except Exception as error:
            log.debug("no version could be read in %s: %r", folder, error)
            return ""
        here = self._installed() if saved else ""
        if saved == here:
            return ""
        return (
            f"saved with {_PACKAGE} {saved}, but {here or 'none'} is installed here; save it again with that "
            f"version, or run it on a Server with environment: {{packages: [{_PACKAGE}=={saved}]}}"
        )

    def _installed(self) -> str:
        if self._here is None:
            self._here = installed(self._root).get(_PACKAGE, "")
        return self._here
