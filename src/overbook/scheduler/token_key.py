"""The key of the hashes that are kept of tokens, in a file of its own. Blocking.

Without its key no token is known, so it is never made anew while there are tokens.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from overbook.artifacts.secrets.errors import SealError
from overbook.artifacts.secrets.sealed import make_key, read_key
from overbook.scheduler.errors import Conflict, StoreError


class TokenKey:
    """``path``: of the key, which is made with the first token."""

    def __init__(self, path: Path) -> None:
        self._path: Final = path

    def made(self) -> bytes:
        """The key, new where there was none. Raises Conflict."""
        try:
            return read_key(self._path) or make_key(self._path)
        except SealError as error:
            raise Conflict(f"tokens cannot be made: {error}") from None

    def read(self) -> bytes:
        """The key of the tokens that are stored. Raises StoreError."""
        try:
            key = read_key(self._path)
        except SealError as error:
            raise StoreError(f"tokens cannot be checked: {error}") from None
        if key is None:
            raise StoreError(
                f"tokens cannot be checked: key file {self._path} is missing; put it back from a copy"
            )
        return key
