"""Tokens: what is kept of one, and who shows it. Pure.

A token is 256 random bits, so a fast keyed hash of it is as good as a slow one: nobody guesses it. What is kept is that
hash alone. It is looked up as a whole; how long that takes tells nothing of a token, for want of the key.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from overbook.access.patterns import matches
from overbook.access.roles import Role

DIGEST_BYTES: Final = 32
# What is longer is no token of ours, and not worth a hash.
LONGEST: Final = 256
_FORM: Final = re.compile(r"(?i:bearer) +([\x21-\x7e]{1,256}) *")


@dataclass(frozen=True, slots=True)
class Token:
    """What is kept. ``models``: patterns of names that it may use, none for all. Times are Unix seconds; ``expires``:
    None for never; ``used``: when it was last shown, 0 for never. ``rate``: requests for models per second,
    ``waiting``: how many of them may wait for their model at once; None for as many as there are.
    """

    name: str
    role: Role
    models: tuple[str, ...]
    created: float
    expires: float | None
    digest: bytes = field(repr=False)
    used: float = 0.0
    rate: int | None = None
    waiting: int | None = None

    def holds(self, now: float) -> bool:
        """Whether it has not expired."""
        return self.expires is None or now < self.expires

    def may_use(self, model: str) -> bool:
        """Whether it may use a model of this name, if its role may use models at all."""
        return not self.models or any(matches(pattern, model) for pattern in self.models)


def digest(key: bytes, token: str) -> bytes:
    """What is kept of a token: HMAC-SHA-256. The gateway's script computes the same, see lua/tokens.lua."""
    return hmac.digest(key, token.encode(), "sha256")


def bearer(header: str | None) -> str | None:
    """The token of an `Authorization` header (RFC 6750, section 2.1); None where there is none that can be one."""
    found = None if header is None else _FORM.fullmatch(header)
    return None if found is None else found[1]


class Tokens:
    """Who shows which token. ``key``: of the hash; without one nobody is known."""

    def __init__(self, key: bytes, tokens: Iterable[Token]) -> None:
        self._key = key
        self._by_digest = {each.digest: each for each in tokens}

    def who(self, header: str | None, now: float) -> Token | None:
        """The token that an `Authorization` header shows, if it is one that holds."""
        shown = bearer(header)
        if shown is None or not self._key:
            return None
        found = self._by_digest.get(digest(self._key, shown))
        return found if found is not None and found.holds(now) else None
