"""The tokens that count now: those that are durable, and the one by which this program asks its own control API.

Follows the state and never changes it: that is done by `tokens_in`, as the actor's operations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Final

from overbook.access.roles import Role
from overbook.access.tokens import Token, Tokens, digest
from overbook.scheduler import messages
from overbook.scheduler.token_key import TokenKey
from overbook.wire import scheduler_pb2 as pb

# No name that people can give a token.
ITSELF: Final = "overbook itself"


class KnownTokens:
    """``own``: of who runs this scheduler and asks its control API; it is kept nowhere. ``always``: tokens are asked
    for also before there is one. ``clock``: Unix seconds.
    """

    def __init__(
        self, key: TokenKey, own: str, clock: Callable[[], float], *, always: bool = False
    ) -> None:
        self.always: Final = always
        self._kept = key
        self._own = own
        self._clock = clock
        self._key = b""
        self._all: tuple[Token, ...] = ()
        self._by_text = Tokens(b"", ())

    def read_key(self, *, needed: bool) -> None:
        """Blocking. ``needed``: there are tokens. Raises StoreError."""
        if needed and not self._key:
            self._key = self._kept.read()

    def digest(self, text: str) -> bytes:
        """What is kept of a new token. Blocking, with the first. Raises Conflict."""
        if not self._key:
            self._key = self._kept.made()
        return digest(self._key, text)

    def follow(self, tokens: Iterable[Token]) -> None:
        """These are durable now."""
        self._all = tuple(sorted(tokens, key=lambda each: each.name))
        # Its use is no news.
        itself = Token(
            ITSELF, Role.OPERATOR, (), 0.0, None, digest(self._key, self._own), used=math.inf
        )
        self._by_text = Tokens(self._key, (*self._all, itself))

    @property
    def asked(self) -> bool:
        """Whether everybody has to show one: there is one, or it was said so from the start."""
        return self.always or bool(self._all)

    @property
    def manageable(self) -> bool:
        """Whether somebody could make a token now."""
        now = self._clock()
        return not self.asked or any(
            each.role is Role.ADMIN and each.holds(now) for each in self._all
        )

    def who(self, header: str) -> Token | None:
        """Whose token an `Authorization` header shows, if it holds."""
        return self._by_text.who(header, self._clock())

    def message(self) -> pb.Access:
        """What gateways are told."""
        return messages.access(self._all, self._key, asked=self.asked)
