"""`overbook secret`: what is sent, what is shown, and what never is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from overbook.client.http import JsonObject
from tests.unit.cli.conftest import Overbook
from tests.unit.client.fake_overbook import FakeOverbook

TEXT = "name: s3\ntype: s3\nparameters:\n  secret_access_key: hunter2\n"
PROBLEM = "key file /s/secrets.key is missing; put it back from a copy and restart, or delete it"


def stored(name: str, *models: str, problem: str | None = None) -> JsonObject:
    return {
        "name": name,
        "type": "s3" if problem is None else None,
        "updated": "2026-01-02T03:04:05Z",
        "usedBy": [*models],
        "problem": problem,
    }


def test_set_sends_the_text_as_it_is(
    overbook: Overbook, fake: FakeOverbook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "minio.yaml").write_text(TEXT)
    monkeypatch.setenv("MINIO", TEXT)
    for source in (
        ("--from", str(tmp_path / "minio.yaml")),
        ("--from", "-"),
        ("--from-env", "MINIO"),
    ):
        result = overbook("secret", "set", "minio", *source, stdin=TEXT)
        assert (result.exit_code, result.output) == (0, "secret/minio set\n")
    assert fake.requests == [("PUT", "/api/v1/secrets/minio", {"text": TEXT})] * 3


def test_set_says_what_is_wrong_and_shows_none_of_it(
    overbook: Overbook, fake: FakeOverbook, tmp_path: Path
) -> None:
    binary, large = tmp_path / "binary", tmp_path / "large"
    binary.write_bytes(b"\xffhunter2")
    large.write_bytes(b"hunter2" * 10_000)
    for source, said in (
        (("--from", str(tmp_path / "nowhere")), "nowhere: cannot be read (No such file"),
        (("--from", str(binary)), "binary: is no text; expected UTF-8"),
        (("--from", str(large)), "large: has more than 65536 bytes; a secret is small"),
        (("--from-env", "NOT_THERE"), "--from-env NOT_THERE: is not set"),
    ):
        result = overbook("secret", "set", "minio", *source)
        assert result.exit_code == 1
        assert said in result.output
        assert "hunter2" not in result.output
    for sources in ((), ("--from", "-", "--from-env", "X")):
        result = overbook("secret", "set", "minio", *sources, stdin=TEXT)
        assert result.exit_code == 2
        assert "expected either --from FILE, --from - or --from-env VAR" in result.output
    assert fake.requests == []
    fake.refusals["minio"] = (400, "secret 'minio': name: is required")
    result = overbook("secret", "set", "minio", "--from", "-", stdin=TEXT)
    assert (result.exit_code, result.output) == (1, "Error: secret 'minio': name: is required\n")


def test_list_in_each_form(overbook: Overbook, fake: FakeOverbook) -> None:
    assert "no secrets; set one with" in overbook("secret", "list").output
    found = [stored("minio", "iris", "wine"), stored("unused")]
    fake.objects["secrets"] = {str(each["name"]): each for each in found}
    lines = overbook("secret", "list").output.splitlines()
    assert lines[0].split() == ["NAME", "TYPE", "SET", "MODELS"]
    assert lines[1].startswith("minio   s3    ")
    assert lines[1].endswith("ago  iris, wine")
    assert lines[2].endswith("ago  -")
    assert json.loads(overbook("secret", "list", "-o", "json").output) == found
    assert "usedBy:\n  - iris\n  - wine\n" in overbook("secret", "list", "-o", "yaml").output
    assert overbook("secret", "list", "-o", "name").output == "secret/minio\nsecret/unused\n"


def test_what_cannot_be_opened_is_listed_with_what_to_do(
    overbook: Overbook, fake: FakeOverbook, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = [f"model-number-{number}" for number in range(30)]
    fake.objects["secrets"] = {
        "minio": stored("minio", *many),
        "a-rather-long-name": stored("a-rather-long-name", problem=PROBLEM),
    }
    assert PROBLEM in overbook("secret", "list").output
    monkeypatch.setattr("overbook.cli.terminal.terminal_width", lambda: 80)
    output = overbook("secret", "list").output
    assert max(map(len, output.splitlines())) <= 80
    assert PROBLEM in " ".join(line.split("  ")[-1].strip() for line in output.splitlines()[2:])


def test_delete(overbook: Overbook, fake: FakeOverbook) -> None:
    fake.objects["secrets"] = {"a": stored("a"), "b": stored("b")}
    fake.warnings = ["secret 'a' is named by model iris"]
    result = overbook("secret", "delete", "a", "gone", "b")
    assert result.exit_code == 1
    assert "secret/a deleted\n" in result.output
    assert "secret/b deleted\n" in result.output
    assert "warning: secret 'a' is named by model iris" in result.output
    assert "Error: secret/gone: secret 'gone' is not registered" in result.output


def test_help_shows_examples(overbook: Overbook) -> None:
    shown = overbook("secret", "--help").output
    assert "overbook secret set minio --from minio.yaml" in shown
    assert "    secret_access_key: 2dBq7XmfJw\n" in shown, "as it is written in a file"
    for command in ("set", "list", "delete"):
        assert f"overbook secret {command}" in overbook("secret", command, "--help").output
