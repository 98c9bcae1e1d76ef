"""Secrets through the control API: sealed on disk, told to agents, and never seen again."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path

import pytest

from tests.integration.scheduler_harness import (
    Harness,
    ScriptedAgent,
    harness,
    model_document,
    server_document,
    until,
)

JSON = {"content-type": "application/json"}
VALUE = "Zk9-hunter2-Qx7"
URL = "/api/v1/secrets/minio"
REMOTE = {"name": "s3", "type": "s3", "parameters": {"secret_access_key": VALUE, "region": "0123"}}


def known(agent: ScriptedAgent) -> dict[str, dict[str, str]]:
    """Parameters by name, as the agent was told last."""
    told = [each.secrets for each in agent.log if each.HasField("secrets")]
    return {each.name: dict(each.parameters) for each in told[-1].secrets}


async def listed(running: Harness) -> list[dict[str, object]]:
    answer = await running.http.get("/api/v1/secrets")
    assert VALUE not in answer.text
    found: list[dict[str, object]] = answer.json()
    return found


async def test_agents_are_told_when_they_come_and_of_each_change(tmp_path: Path) -> None:
    async with harness(tmp_path) as running:
        await running.apply(server_document())
        assert (await running.http.put(URL, json=REMOTE)).json() == {"warnings": []}
        agent = ScriptedAgent("mlserver/0")
        await running.agent(agent)
        assert known(agent) == {"minio": {"secret_access_key": VALUE, "region": "0123"}}
        # Before anything that may need them.
        assert agent.log[0].HasField("secrets")
        text = "name: s3\ntype: s3\nparameters: {secret_access_key: other}"
        await running.http.put(URL, json={"text": text})
        await until("told", lambda: known(agent) == {"minio": {"secret_access_key": "other"}})
        await running.http.delete(URL)
        await until("told", lambda: known(agent) == {})


async def test_what_is_listed_is_never_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "iris").mkdir()
    (tmp_path / "iris" / "model.joblib").write_bytes(b"x")
    async with harness(tmp_path) as running:
        await running.http.put(URL, json=REMOTE)
        await running.apply(model_document("iris", tmp_path / "iris", secretName="minio"))
        (found,) = await listed(running)
        assert found.pop("updated") is not None
        assert found == {"name": "minio", "type": "s3", "usedBy": ["iris"], "problem": None}
        answer = await running.http.delete(URL)
        assert "named by model iris" in answer.json()["warnings"][0]
        assert await listed(running) == []


async def test_what_is_probably_mistyped_is_told_and_stored(tmp_path: Path) -> None:
    mistyped = {"name": "s3", "type": "s3", "parameters": {"secret_acces_key": VALUE}}
    async with harness(tmp_path) as running:
        answer = await running.http.put(URL, json=mistyped)
        [warning] = answer.json()["warnings"]
        assert "secret 'minio': parameters.secret_acces_key: did you mean secret_access" in warning
        assert VALUE not in answer.text
        assert len(await listed(running)) == 1


async def test_what_is_refused_is_not_repeated(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    bad: list[tuple[bytes, str]] = [
        (b"", "is empty"),
        (json.dumps(VALUE).encode(), "is no mapping"),
        (f'{{"text": "{VALUE}"'.encode(), "is neither JSON nor YAML"),
        (json.dumps({"text": {"a": VALUE}}).encode(), "text: is not known"),
        (json.dumps({"text": VALUE}).encode(), "is no mapping"),
        (json.dumps({**REMOTE, "more": VALUE}).encode(), "more: is not known"),
        (json.dumps({**REMOTE, "parameters": [VALUE]}).encode(), "parameters: is no mapping"),
        (json.dumps({**REMOTE, "type": VALUE}).encode(), "type: is not one that rclone takes"),
        (
            json.dumps(
                {"name": "sftp", "type": "sftp", "parameters": {"key_file": VALUE}}
            ).encode(),
            "secret 'minio': its key_file would have this machine's own files",
        ),
        (VALUE.encode() + b"\xff", "body: is no text; expected JSON in UTF-8"),
        (b'"' * 100_000, "has more than 65536 bytes"),
        (b"[" * 100_000, "is more than 66 deep"),
    ]
    async with harness(tmp_path) as running:
        for body, said in bad:
            answer = await running.http.put(URL, content=body, headers=JSON)
            assert answer.status_code == 400, answer.text
            assert said in answer.json()["error"]
            assert VALUE not in answer.text
        for name in ("Minio", "a_b", "-a", "%2e%2e", "a%2fb"):
            answer = await running.http.put(f"/api/v1/secrets/{name}", json=REMOTE)
            assert answer.status_code in (400, 404, 405)
            assert VALUE not in answer.text
        answer = await running.http.put(URL, content=VALUE.encode() * 50_000, headers=JSON)
        assert answer.status_code == 413
        assert VALUE not in answer.text
        for method in ("POST", "PATCH"):
            answer = await running.http.request(method, URL, json=REMOTE)
            assert answer.status_code == 405
            assert VALUE not in answer.text
        assert await listed(running) == []
    assert VALUE not in caplog.text


async def test_a_restart_opens_them_and_without_the_key_says_what_to_do(tmp_path: Path) -> None:
    key = tmp_path / "scheduler" / "secrets.key"
    async with harness(tmp_path) as running:
        for name in ("a", "b"):
            await running.http.put(f"/api/v1/secrets/{name}", json=REMOTE)
    assert key.stat().st_mode & 0o777 == 0o600
    for file in (tmp_path / "scheduler").rglob("*"):
        assert file.is_dir() or VALUE.encode() not in file.read_bytes()
    async with harness(tmp_path) as running:
        agent = ScriptedAgent("mlserver/0")
        await running.agent(agent)
        assert set(known(agent)) == {"a", "b"}
    key.unlink()
    async with harness(tmp_path) as running:
        agent = ScriptedAgent("mlserver/0")
        await running.agent(agent)
        assert known(agent) == {}
        assert [each["type"] for each in await listed(running)] == [None, None]
        assert all(
            "is missing; put it back" in str(each["problem"]) for each in await listed(running)
        )
        answer = await running.http.put("/api/v1/secrets/a", json=REMOTE)
        assert answer.status_code == 409
        await running.http.delete("/api/v1/secrets/b")
        assert (await running.http.put("/api/v1/secrets/a", json=REMOTE)).status_code == 200
        assert [each["problem"] for each in await listed(running)] == [None]
        await until("told", lambda: set(known(agent)) == {"a"})
    assert key.stat().st_mode & 0o777 == 0o600


async def test_what_could_not_be_looked_at_without_one_is_looked_at_when_it_comes(
    tmp_path: Path,
) -> None:
    async with harness(tmp_path) as running:
        await running.apply(server_document())
        await running.apply(model_document("iris", Path("s3://models/iris"), secretName="minio"))
        agent = ScriptedAgent("mlserver/0")
        await running.agent(agent)

        def looks() -> int:
            return sum(each.HasField("look") for each in agent.log)

        await until("looked at", lambda: looks() == 1)
        began = time.monotonic()
        await running.http.put(URL, json=REMOTE)
        await until("looked at again", lambda: looks() == 2)
        # Without it there would be another look, too: a little later.
        assert time.monotonic() - began < 4
