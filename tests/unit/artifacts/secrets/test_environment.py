"""Secrets in variables of the environment."""

from __future__ import annotations

import pytest

from overbook.artifacts.secrets.environment import find, taken, variable
from overbook.artifacts.secrets.errors import SecretError


def test_which_variable_is_meant() -> None:
    assert variable("team.minio-1") == "OVERBOOK_SECRET_TEAM_MINIO_1"


def test_what_was_taken_is_in_the_environment_no_more() -> None:
    environ = {"PATH": "/bin", "OVERBOOK_SECRET_A": "name: m\ntype: s3", "OVERBOOK_SECRETS": "/s"}
    held = taken(environ)
    assert environ == {"PATH": "/bin", "OVERBOOK_SECRETS": "/s"}
    found = find("a", held)
    assert found is not None
    assert (found.secret, found.type) == ("a", "s3")
    assert find("b", held) is None
    with pytest.raises(SecretError, match="secret 'c': is no mapping"):
        find("c", {"OVERBOOK_SECRET_C": "hunter2"})
