"""What people are told who show no token, or one that may not do what they want. Texts only."""

from __future__ import annotations

from typing import Final

from overbook.access.roles import Role

NO_TOKEN: Final = (
    "authorization: no token that is valid here; expected the header `Authorization: Bearer TOKEN` "
    "(`overbook token create` makes one)"
)
NOT_GRANTED: Final = (
    "authorization: this token may not use this model; expected one whose --models has its name"
)


def too_low(name: str, role: Role, needed: Role) -> str:
    """A token's role is not enough."""
    return f"authorization: token {name!r} has the role {role}; expected {needed}"
