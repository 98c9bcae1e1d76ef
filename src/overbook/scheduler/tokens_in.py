"""Tokens that people make and revoke, into the state. No I/O, no chance: the caller brings the digest.

Once there is a token, everybody has to show one. So nobody is locked out by mistake: the first is an administrator's
without an end, and the last such one goes only when no other is left.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Final

from overbook.access import patterns
from overbook.access.roles import Role, may
from overbook.access.tokens import Token
from overbook.manifests.problems import shown
from overbook.scheduler.errors import Conflict, Invalid, NotFound
from overbook.scheduler.state import State

# All of them are in each of Envoy's threads.
MOST: Final = 10_000
# Characters of all patterns together, which go to gateways in one message.
MOST_OF_PATTERNS: Final = 500_000
# Per second, or that wait at once.
MOST_REQUESTS: Final = 1_000_000
# Seconds between two notes of a token's use.
_NOTED: Final = 60.0
_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A token that somebody asks for. ``lifetime``: seconds, None for no end. The last two as in `Token`."""

    name: str
    role: Role
    models: tuple[str, ...] = ()
    lifetime: float | None = None
    rate: int | None = None
    waiting: int | None = None


def check(wanted: Wanted) -> None:
    """Raises Invalid."""
    if not _NAME.fullmatch(wanted.name):
        raise Invalid(
            f"name: {shown(wanted.name)} is not a name; expected at most 63 lower-case letters, digits, '-' and '.', "
            "beginning and ending with a letter or digit"
        )
    if wanted.models and wanted.role is not Role.INFER:
        raise Invalid(
            f"models: a token with the role {wanted.role} is for all models; expected the role infer, or no models"
        )
    if len(wanted.models) > patterns.MOST:
        raise Invalid(f"models: {len(wanted.models)} patterns; expected at most {patterns.MOST}")
    for each in wanted.models:
        if why := patterns.problem(each):
            raise Invalid(f"models: {shown(each)}: {why}")
    if wanted.lifetime is not None and not (math.isfinite(wanted.lifetime) and wanted.lifetime > 0):
        raise Invalid(f"expiresIn: {wanted.lifetime:g}; expected seconds, more than 0")
    for field, value in (("requestsPerSecond", wanted.rate), ("waiting", wanted.waiting)):
        if value is None:
            continue
        if not may(wanted.role, Role.INFER):
            raise Invalid(
                f"{field}: is about requests for models, and a token with the role {wanted.role} may make none; "
                "leave it away, or choose another role"
            )
        if not 1 <= value <= MOST_REQUESTS:
            raise Invalid(f"{field}: {value}; expected a number from 1 to {MOST_REQUESTS}")


def add(state: State, wanted: Wanted, digest: bytes, now: float) -> Token:
    """The token is known from now on. Raises Invalid, Conflict."""
    check(wanted)
    if wanted.name in state.tokens:
        raise Conflict(
            f"token {wanted.name!r} is there already; revoke it first, or choose another name"
        )
    if len(state.tokens) >= MOST:
        raise Conflict(f"there are {MOST} tokens already, the most that can be; revoke some first")
    held = sum(len(pattern) for each in state.tokens.values() for pattern in each.models)
    if held + sum(map(len, wanted.models)) > MOST_OF_PATTERNS:
        raise Conflict(
            f"models: the patterns of all tokens together would have more than {MOST_OF_PATTERNS} characters; "
            "use `*`, or revoke tokens that nobody needs"
        )
    lasting = wanted.role is Role.ADMIN and wanted.lifetime is None
    if not lasting and not any(map(_lasting, state.tokens.values())):
        raise Conflict(
            "with the first token everybody has to show one, so it must be one that can make others: begin with "
            "`overbook token create NAME --role admin`, without --expires"
        )
    expires = None if wanted.lifetime is None else now + wanted.lifetime
    token = Token(
        *(wanted.name, wanted.role, wanted.models, now, expires, digest),
        rate=wanted.rate,
        waiting=wanted.waiting,
    )
    state.tokens[token.name] = token
    state.seats.changes.tokens.add(token.name)
    state.seats.changes.gone_tokens.discard(token.name)
    return token


def remove(state: State, name: str, *, required: bool) -> list[str]:
    """The token is void; what people should know of that, a line each. ``required``: tokens are asked for in any case.

    Raises NotFound, Conflict.
    """
    found = state.tokens.get(name)
    if found is None:
        raise NotFound(f"token {name!r} is not there; see `overbook token list`")
    others = [each for each in state.tokens.values() if each.name != name]
    if _lasting(found) and not any(map(_lasting, others)) and (others or required):
        raise Conflict(
            f"token {name!r} is the last administrator's without an end, so nobody could make or revoke another; "
            "create one first"
        )
    del state.tokens[name]
    state.seats.changes.gone_tokens.add(name)
    state.seats.changes.tokens.discard(name)
    if others:
        return []
    return ["no token is left: from now on whoever can connect may do everything"]


def note_use(state: State, name: str, now: float) -> None:
    """Somebody showed it just now."""
    found = state.tokens.get(name)
    if found is not None and is_news(found, now):
        state.tokens[name] = replace(found, used=now)
        state.seats.changes.uses.add(name)


def is_news(token: Token, now: float) -> bool:
    """Whether its use is worth to be written."""
    return now - token.used >= _NOTED


def _lasting(token: Token) -> bool:
    return token.role is Role.ADMIN and token.expires is None
