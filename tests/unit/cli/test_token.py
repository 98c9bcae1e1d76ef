"""`overbook token`: what is sent, what is shown and where, and what the other commands do with a token."""

from __future__ import annotations

import json

import pytest

from overbook.client.credentials import TOKEN_VARIABLE
from tests.unit.cli.conftest import Overbook
from tests.unit.client.fake_overbook import FakeOverbook, model, token

REFUSED = json.dumps({"error": "authorization: no token that is valid here"}).encode()


def test_create_prints_the_token_alone_where_a_script_reads_it(
    overbook: Overbook, fake: FakeOverbook
) -> None:
    fake.warnings = ["gateway far:9000 is not connected; until it is, it uses what it heard last"]
    result = overbook(
        *("token", "create", "web", "--role", "infer"),
        *("--models", "team-a-*", "--models", "shared", "--expires", "30d"),
    )
    assert (result.exit_code, result.stdout) == (0, "ob_web\n")
    assert "token/web created; keep it now, it is not shown again" in result.stderr
    assert "warning: gateway far:9000 is not connected" in result.stderr
    assert fake.requests == [
        (
            "POST",
            "/api/v1/tokens",
            {
                "name": "web",
                "role": "infer",
                "models": ["team-a-*", "shared"],
                "expiresIn": 30 * 86400.0,
                "requestsPerSecond": None,
                "waiting": None,
            },
        )
    ]


def test_create_says_why_not(overbook: Overbook, fake: FakeOverbook) -> None:
    fake.refusals["web"] = (409, "token 'web' is there already; revoke it first")
    result = overbook("token", "create", "web", "--role", "viewer")
    assert (result.exit_code, result.output) == (
        1,
        "Error: token 'web' is there already; revoke it first\n",
    )
    for lifetime in ("soon", "0", "11000d", "-1d"):
        result = overbook("token", "create", "x", "--role", "infer", "--expires", lifetime)
        assert result.exit_code == 2
        assert (
            f"'{lifetime}' is no lifetime; expected a duration such as 12h or 30d" in result.output
        )
    assert overbook("token", "create", "web").exit_code == 2
    assert overbook("token", "create", "web", "--role", "king").exit_code == 2


def test_limits_are_sent_and_listed(overbook: Overbook, fake: FakeOverbook) -> None:
    limits = ("--requests-per-second", "50", "--waiting", "10")
    assert overbook("token", "create", "web", "--role", "infer", *limits).exit_code == 0
    body = fake.requests[-1][2]
    assert isinstance(body, dict)
    assert (body["requestsPerSecond"], body["waiting"]) == (50, 10)
    fake.objects["tokens"] = {
        "web": {**token("web", "infer"), "requestsPerSecond": 50, "waiting": 10},
        "few": {**token("few", "infer"), "waiting": 1},
        "all": token("all", "infer"),
    }
    head, web, few, every = overbook("token", "list").output.splitlines()
    assert "LIMITS" in head
    assert "50/s, 10 waiting" in web
    assert "1 waiting" in few
    assert every.split()[3] == "-"
    for wrong in ("0", "-1", "x", "1.5"):
        refused = overbook("token", "create", "x", "--role", "infer", "--waiting", wrong)
        assert refused.exit_code == 2


def test_list_in_each_form(overbook: Overbook, fake: FakeOverbook) -> None:
    assert "overbook token create NAME --role admin" in overbook("token", "list").output
    found = [
        token("boss", "admin", used="2026-01-02T03:04:05Z"),
        token("old", "infer", expires="2026-01-02T03:04:05Z"),
        token("eyes", "viewer"),
        token("web", "infer", "team-a-*", "shared", expires="2999-01-02T03:04:05Z"),
    ]
    fake.objects["tokens"] = {str(each["name"]): each for each in found}
    head, *lines = overbook("token", "list").output.splitlines()
    assert head.split("  ")[0] == "NAME"
    boss, old, eyes, web = (line.split() for line in lines)
    assert boss[:3] == ["boss", "admin", "all"]
    assert boss[-1] == "ago"
    assert "never" in boss
    assert "expired" in old
    assert eyes[2] == "-"
    assert web[2:4] == ["team-a-*,", "shared"]
    assert "2999-01-02 03:04" in lines[3]
    assert web[-1] == "-"
    assert json.loads(overbook("token", "list", "-o", "json").output) == found
    assert "- team-a-*\n" in overbook("token", "list", "-o", "yaml").output
    assert overbook("token", "list", "-o", "name").output.splitlines()[0] == "token/boss"


def test_revoke(overbook: Overbook, fake: FakeOverbook) -> None:
    fake.objects["tokens"] = {"a": token("a", "infer"), "boss": token("boss", "admin")}
    fake.refusals["boss"] = (409, "token 'boss' is the last administrator's")
    result = overbook("token", "revoke", "a", "gone", "boss")
    assert result.exit_code == 1
    assert "token/a revoked\n" in result.output
    assert "Error: token/gone: " in result.output
    assert "Error: token/boss: token 'boss' is the last administrator's" in result.output


def test_help_shows_examples_and_roles(overbook: Overbook) -> None:
    shown = overbook("token", "--help").output
    for word in ("infer", "viewer", "operator", "admin", TOKEN_VARIABLE):
        assert word in shown
    for command in ("create", "list", "revoke"):
        assert f"overbook token {command}" in overbook("token", command, "--help").output


COMMANDS = (
    ("get", "models"),
    ("token", "list"),
    ("metadata", "iris"),
    ("infer", "iris", '{"inputs": []}'),
)


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda each: each[0])
def test_commands_show_the_token_of_the_environment(
    overbook: Overbook,
    fake: FakeOverbook,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
) -> None:
    fake.add(model("iris"))
    monkeypatch.setenv(TOKEN_VARIABLE, " ob_mine\n")
    overbook(*arguments)
    assert {each["authorization"] for each in fake.headers} == {"Bearer ob_mine"}
    fake.headers.clear()
    monkeypatch.delenv(TOKEN_VARIABLE)
    overbook(*arguments)
    assert all("authorization" not in each for each in fake.headers)


@pytest.mark.parametrize(
    ("shown", "said"),
    [
        ("", "this Overbook asks for a token; set OVERBOOK_TOKEN to yours"),
        ("ob_old", "OVERBOOK_TOKEN has no token that is valid here: it may have been revoked"),
    ],
)
def test_who_is_refused_is_told_what_to_do(
    overbook: Overbook, fake: FakeOverbook, monkeypatch: pytest.MonkeyPatch, shown: str, said: str
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, shown)
    fake.raw = dict.fromkeys(
        ("/api/v1/models", "/api/v1/tokens", "/v2/models/iris", "/v2/models/iris/infer"),
        (401, REFUSED),
    )
    for arguments in COMMANDS:
        result = overbook(*arguments)
        assert result.exit_code == 1
        assert said in result.output, arguments


@pytest.mark.parametrize("text", ["two words", "a\nb", "ö"])
def test_what_cannot_be_a_token_is_not_sent(
    overbook: Overbook, fake: FakeOverbook, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, text)
    for arguments in COMMANDS:
        result = overbook(*arguments)
        assert result.exit_code == 2
        assert "OVERBOOK_TOKEN: has characters that no token has" in result.output
        assert text not in result.output
    assert fake.requests == []
