"""What a call of the control API asks to be changed, by its path, and what is noted of it on its way. No I/O.

The middleware puts a `Call` into the request's scope; who finds out more about the call writes it in there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Final, Literal, TypeAlias

from fastapi import Depends, Request
from starlette.types import Scope

Who: TypeAlias = Literal["token", "anyone", "unknown"]

_KEY: Final = "overbook.audit"
_READS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_CHECKS: Final = "/api/v1/validate"
_PLURALS: Final = {"models": "Model", "servers": "Server", "secrets": "Secret", "tokens": "Token"}
_NAMED: Final = re.compile(r"/api/v1/(models|servers|secrets|tokens)(?:/([^/]*)(?:/([^/]*))?)?/?")
_VERBS: Final = {
    ("DELETE", "Token"): "revoke",
    ("POST", "Token"): "create",
    ("PUT", "Secret"): "set",
}
_ACTIONS: Final = frozenset({"activate", "evict", "pin", "unpin"})


@dataclass(frozen=True, slots=True)
class Change:
    """One object. ``outcome``: what became of it; "" where the status of the answer says so. ``before``, ``after``: its
    generation, None where there is none, or nobody knows.
    """

    kind: str
    name: str
    before: int | None = None
    after: int | None = None
    outcome: str = ""


@dataclass(slots=True)
class Call:
    """``who``: how the caller was known; ``token``, ``role``: where by a token. ``changes``: nothing for what the path
    says already; ``unchanged``: objects that were as they should be.
    """

    who: Who = "unknown"
    token: str | None = None
    role: str | None = None
    changes: list[Change] = field(default_factory=list)
    unchanged: int = 0


def is_change(method: str, path: str) -> bool:
    """Whether such a call may change something."""
    return method not in _READS and path != _CHECKS


def asked_for(method: str, path: str) -> tuple[str, Change]:
    """What the path says: a verb, "" for an unknown one, and whom it is about."""
    if path == "/api/v1/apply":
        return "apply", Change("", "")
    found = _NAMED.fullmatch(path)
    if found is None:
        return "", Change("", "")
    kind = _PLURALS[found[1]]
    verb = _VERBS.get((method, kind), "delete" if method == "DELETE" else "")
    if kind == "Model" and method == "POST" and found[3] in _ACTIONS:
        verb = found[3]
    return verb, Change(kind, found[2] or "")


def begun(scope: Scope) -> Call:
    """A request's call, of which nothing is noted yet."""
    call = Call()
    scope[_KEY] = call
    return call


def call_of(scope: Scope) -> Call:
    """Where to note what is found out about a request; also of one that is not recorded, without consequence."""
    found = scope.get(_KEY)
    return found if isinstance(found, Call) else Call()


def _noted(request: Request) -> Call:
    return call_of(request.scope)


# A parameter of who answers a call.
Noted: TypeAlias = Annotated[Call, Depends(_noted)]
