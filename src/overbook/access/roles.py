"""The roles that a token can give, and which of them a call of the control API needs. Pure.

Every path of the API has a rule here. One that has none needs the highest role: what is new is closed until somebody
decides.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final


class Role(StrEnum):
    """What its holder may. `INFER` may use models and nothing else; the others hold each what those below them may."""

    INFER = "infer"
    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


# Who may read may not therefore use models, nor the other way round.
_RANK: Final = {Role.VIEWER: 1, Role.OPERATOR: 2, Role.ADMIN: 3}
_INFERRING: Final = frozenset({Role.INFER, Role.OPERATOR, Role.ADMIN})

# What probes ask, and what anybody can read in the source.
_OPEN: Final = re.compile(r"/(healthz|readyz|docs|openapi\.json)?")
# The first that matches counts. GET stands for HEAD too.
_RULES: Final = tuple(
    (frozenset(methods.split()), re.compile(path), role)
    for methods, path, role in (
        ("GET POST PUT DELETE", r"/api/v1/tokens(/[^/]+)?", Role.ADMIN),
        # Who uses the API, and from where.
        ("GET", r"/api/v1/audit", Role.ADMIN),
        ("PUT DELETE", r"/api/v1/secrets/[^/]+", Role.ADMIN),
        # Their names tell what a company uses.
        ("GET", r"/api/v1/secrets", Role.OPERATOR),
        # What models print may be what they were sent.
        ("GET", r"/api/v1/servers/[^/]+/replicas/[^/]+/log", Role.OPERATOR),
        ("GET", r"/metrics", Role.VIEWER),
        (
            "GET",
            r"/api/v1/(models|servers)(/[^/]+(/describe)?)?|/api/v1/(events|version)",
            Role.VIEWER,
        ),
        ("POST", r"/api/v1/(apply|validate)", Role.OPERATOR),
        ("POST", r"/api/v1/models/[^/]+/(activate|evict|pin|unpin)", Role.OPERATOR),
        ("DELETE", r"/api/v1/(models|servers)/[^/]+", Role.OPERATOR),
    )
)


def may(role: Role, needed: Role) -> bool:
    """Whether a holder of ``role`` may do what needs ``needed``."""
    if needed is Role.INFER:
        return role in _INFERRING
    return _RANK.get(role, 0) >= _RANK[needed]


def needed(method: str, path: str) -> Role | None:
    """The lowest role that may make this call of the control API; None where nobody is asked who they are."""
    method = "GET" if method == "HEAD" else method
    if method == "GET" and _OPEN.fullmatch(path):
        return None
    for methods, pattern, role in _RULES:
        if method in methods and pattern.fullmatch(path):
            return role
    return Role.ADMIN
