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

# After the number, which Envoy puts before it.
REQUESTS_PER_SECOND: Final = (
    "requests per second are what this token may make; send this one again later"
)


def too_many_waiting(name: str, most: int) -> str:
    """So many requests with a token wait for their models already."""
    return (
        f"authorization: {most} requests with token {name!r} wait for their models already, the most that it may have; "
        "send this one again later"
    )


def too_low(name: str, role: Role, needed: Role) -> str:
    """A token's role is not enough."""
    return f"authorization: token {name!r} has the role {role}; expected {needed}"
