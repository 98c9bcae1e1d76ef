"""What a call is about, as its path says it."""

from __future__ import annotations

import pytest

from overbook.scheduler.audit.calls import Change, asked_for, begun, call_of, is_change
from tests.unit.scheduler.described import description


@pytest.mark.parametrize(
    ("call", "verb", "kind", "name"),
    [
        ("POST /api/v1/apply", "apply", "", ""),
        ("DELETE /api/v1/models/iris", "delete", "Model", "iris"),
        ("POST /api/v1/models/iris/evict", "evict", "Model", "iris"),
        ("POST /api/v1/models/iris/pin", "pin", "Model", "iris"),
        ("POST /api/v1/models/iris/explode", "", "Model", "iris"),
        ("DELETE /api/v1/servers/mlserver", "delete", "Server", "mlserver"),
        ("PUT /api/v1/secrets/s3", "set", "Secret", "s3"),
        ("DELETE /api/v1/secrets/s3", "delete", "Secret", "s3"),
        ("POST /api/v1/tokens", "create", "Token", ""),
        ("DELETE /api/v1/tokens/web", "revoke", "Token", "web"),
        ("PATCH /api/v1/models/iris", "", "Model", "iris"),
        ("POST /somewhere/else", "", "", ""),
        ("POST /api/v1/models/a/b/c/d", "", "", ""),
    ],
)
def test_a_path_says_what_is_asked_for(call: str, verb: str, kind: str, name: str) -> None:
    method, path = call.split()
    assert asked_for(method, path) == (verb, Change(kind, name))


def test_every_call_that_changes_something_has_a_verb() -> None:
    found = [(method, path) for method, path in description().operations if is_change(method, path)]
    assert len(found) >= 10
    assert not [each for each in found if not asked_for(*each)[0]]


def test_what_only_reads_or_checks_is_no_change() -> None:
    for method, path in description().operations:
        reads = method == "GET" or path == "/api/v1/validate"
        assert is_change(method, path) is not reads
    for method in ("HEAD", "OPTIONS"):
        assert not is_change(method, "/api/v1/models/iris")


def test_what_is_noted_of_a_request_is_found_again() -> None:
    scope = {"type": "http"}
    call_of(scope).unchanged = 7
    assert call_of(scope).unchanged == 0
    call = begun(scope)
    call_of(scope).unchanged = 7
    assert call.unchanged == 7
