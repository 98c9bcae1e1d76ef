"""What each role may: every call of the control API has a rule."""

from __future__ import annotations

import pytest

from overbook.access.roles import Role, may, needed
from tests.unit.scheduler.described import description


def test_each_role_holds_what_those_below_it_may() -> None:
    assert [[may(role, need) for need in Role] for role in Role] == [
        # infer, viewer, operator, admin
        [True, False, False, False],
        [False, True, False, False],
        [True, True, True, False],
        [True, True, True, True],
    ]


@pytest.mark.parametrize(
    ("method", "path", "role"),
    [
        ("GET", "/api/v1/models", Role.VIEWER),
        ("HEAD", "/api/v1/models/x/describe", Role.VIEWER),
        ("GET", "/metrics", Role.VIEWER),
        ("POST", "/api/v1/apply", Role.OPERATOR),
        ("POST", "/api/v1/models/x/evict", Role.OPERATOR),
        ("DELETE", "/api/v1/servers/x", Role.OPERATOR),
        ("GET", "/api/v1/servers/x/replicas/0/log", Role.OPERATOR),
        ("GET", "/api/v1/secrets", Role.OPERATOR),
        ("PUT", "/api/v1/secrets/x", Role.ADMIN),
        ("DELETE", "/api/v1/secrets/x", Role.ADMIN),
        ("GET", "/api/v1/tokens", Role.ADMIN),
        ("DELETE", "/api/v1/tokens/x", Role.ADMIN),
        ("GET", "/healthz", None),
        ("GET", "/docs", None),
    ],
)
def test_what_a_call_needs(method: str, path: str, role: Role | None) -> None:
    assert needed(method, path) is role


@pytest.mark.parametrize(
    "path", ["/api/v1/new", "/debug", "//api/v1/models", "/api/v1/models/../x"]
)
def test_what_nobody_decided_on_is_closed(path: str) -> None:
    assert needed("POST", path) is Role.ADMIN


def test_no_call_of_the_api_is_closed_by_mistake_or_open() -> None:
    """Each has a rule of its own: the rest is for administrators, and so are these few."""
    found = {(method, path): needed(method, path) for method, path in description().operations}
    admins = {call for call, role in found.items() if role is Role.ADMIN}
    assert admins == {
        ("PUT", "/api/v1/secrets/{name}"),
        ("DELETE", "/api/v1/secrets/{name}"),
        ("GET", "/api/v1/audit"),
        ("GET", "/api/v1/tokens"),
        ("POST", "/api/v1/tokens"),
        ("DELETE", "/api/v1/tokens/{name}"),
    }
    assert {path for (_, path), role in found.items() if role is None} == {"/healthz", "/readyz"}
