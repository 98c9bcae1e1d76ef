"""With what token a running Overbook is asked: the environment's. And what a refusal means to who has that one."""

from __future__ import annotations

import os
from typing import Final

from overbook.client.errors import BadToken

# What everybody shows once there are tokens: see `overbook token`.
TOKEN_VARIABLE: Final = "OVERBOOK_TOKEN"
UNAUTHENTICATED: Final = 401


def credentials() -> dict[str, str]:
    """The headers by which requests show the token of the environment; none where it has none. Raises BadToken."""
    token = _token()
    if token and not (token.isascii() and token.isprintable() and " " not in token):
        raise BadToken(
            f"{TOKEN_VARIABLE}: has characters that no token has; expected what `overbook token create` printed, alone"
        )
    return bearer(token) if token else {}


def bearer(token: str) -> dict[str, str]:
    """The headers that show this token."""
    return {"authorization": f"Bearer {token}"}


def unknown() -> str:
    """What to do about the answer that no token is valid."""
    if _token():
        return (
            f"{TOKEN_VARIABLE} has no token that is valid here: it may have been revoked, have ended, be another "
            "Overbook's, or not be for models; ask an administrator (`overbook token list` tells them)"
        )
    return (
        f"this Overbook asks for a token; set {TOKEN_VARIABLE} to yours "
        "(an administrator makes one with `overbook token create`)"
    )


def _token() -> str:
    return os.environ.get(TOKEN_VARIABLE, "").strip()
