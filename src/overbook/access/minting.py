"""Makes tokens: the one thing here that is left to chance."""

from __future__ import annotations

import secrets
from typing import Final

# Scanners that look for secrets in files know tokens by how they begin.
PREFIX: Final = "ob_"
_RANDOM_BYTES: Final = 32


def mint() -> str:
    """A new token, to be shown once."""
    return PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
