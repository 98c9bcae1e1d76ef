"""Which tokens the gateway knows, and that Envoy asks for them. Tokens come from the scheduler, with the catalogue.

The hot path asks in Envoy (lua/tokens.lua), the gateway's own endpoints ask here; both from the same list. Decides
nothing: what a token may is `overbook.access`'s to say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from overbook.access.roles import Role
from overbook.access.tokens import Token, Tokens
from overbook.gateway.snapshot.asking import Asking, asking
from overbook.gateway.token_uses import TokenUses
from overbook.wire import scheduler_pb2

# Seconds after which an expiry is looked at anyway: clocks are set.
_LOOK: Final = 60.0


class Access:
    """``now``: Unix seconds. ``in_force``: makes Envoy ask by these scripts, or not at all; returns the revision.
    ``always``: tokens are asked for although the scheduler has none.

    Until the scheduler has said whether tokens are asked for, nobody gets in: see `untold_routes`.
    """

    def __init__(
        self,
        templates: Asking,
        now: Callable[[], float],
        in_force: Callable[[Asking | None], int],
        uses: TokenUses,
        *,
        always: bool,
    ) -> None:
        self._templates = templates
        self._now = now
        self._in_force = in_force
        self._uses = uses
        self._key = b""
        self._tokens: tuple[Token, ...] = ()
        self._known = Tokens(b"", ())
        self._waiting: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._always = always
        # When Envoy was told last, of the tokens that held then.
        self._told = 0.0
        self.asked = True

    def who(self, header: str | None) -> Token | None:
        """Whose token the header shows, if it holds."""
        now = self._now()
        found = self._known.who(header, now)
        if found is not None:
            self._uses.note(found.name, now)
        return found

    def most_waiting(self, name: str) -> int | None:
        """Of requests with this token; None: any number."""
        return self._waiting.get(name)

    def take(self, update: scheduler_pb2.Access) -> int:
        """All that the scheduler knows. Returns the revision with which Envoy acts by it."""
        self.asked = update.asked or self._always
        self._key = update.key
        self._tokens = tuple(map(_token, update.tokens))
        self._known = Tokens(self._key, self._tokens)
        self._waiting = {each.name: each.waiting for each in self._tokens if each.waiting}
        self._changed.set()
        return self._tell()

    async def run(self) -> None:
        """Until cancelled: takes expired tokens from Envoy. Here they are looked at each time."""
        while True:
            self._changed.clear()
            # Not those that hold now: one may have ended since Envoy was told.
            told = [each for each in self._tokens if each.holds(self._told)]
            ends = [each.expires for each in told if each.expires is not None]
            pause = min(_LOOK, max(0.0, min(ends) - self._now())) if ends else None
            try:
                async with asyncio.timeout(pause):
                    await self._changed.wait()
            except TimeoutError:
                if any(not each.holds(self._now()) for each in told):
                    self._tell()

    def _tell(self) -> int:
        if not self.asked:
            return self._in_force(None)
        self._told = self._now()
        notes = self._uses.path
        return self._in_force(asking(self._templates, self._key, self._tokens, self._told, notes))


def _token(told: scheduler_pb2.AccessToken) -> Token:
    return Token(
        name=told.name,
        role=Role(told.role),
        models=tuple(told.models),
        created=0.0,
        expires=told.expires if told.HasField("expires") else None,
        digest=told.digest,
        rate=told.rate if told.HasField("rate") else None,
        waiting=told.waiting if told.HasField("waiting") else None,
    )
