"""The audit log of a real control API, asked over HTTP: who changed what, from where, and with what outcome."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.scheduler_harness import (
    Harness,
    ScriptedAgent,
    harness,
    model_document,
    server_document,
)
from tests.small_disk import fill, small_disk

SECRET = "swordfish-and-nothing-else"


async def entries(running: Harness, token: str = "", **query: object) -> list[dict[str, Any]]:
    answer = await running.http.get(
        "/api/v1/audit",
        params={name: str(value) for name, value in query.items()},
        headers=shown(token),
    )
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert found["last"] >= max([0, *(each["seq"] for each in found["entries"])])
    listed: list[dict[str, Any]] = found["entries"]
    return listed


def shown(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"} if token else {}


def told(entry: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(entry[each] for each in ("verb", "kind", "name", "before", "after", "outcome"))


async def token(running: Harness, name: str, role: str, by: str = "") -> str:
    answer = await running.http.post(
        "/api/v1/tokens", json={"name": name, "role": role}, headers=shown(by)
    )
    assert answer.status_code == 201, answer.text
    text: str = answer.json()["token"]
    return text


async def test_every_change_is_told_with_its_generations(tmp_path: Path) -> None:
    artifact = tmp_path / "iris"
    artifact.mkdir()
    (artifact / "model.joblib").write_bytes(b"x")
    iris = model_document("iris", artifact)
    async with harness(tmp_path) as running:
        await running.apply(server_document(), iris, {"kind": "Model", "metadata": {"name": "bad"}})
        await running.agent(ScriptedAgent("mlserver/0"))
        await running.apply(server_document(), iris)
        await running.apply(model_document("iris", artifact, memory="2M"))
        for call in ("pin", "pin", "evict", "unpin", "activate"):
            await running.http.post(f"/api/v1/models/iris/{call}")
        await running.http.post("/api/v1/models/nothing/pin")
        await running.http.delete("/api/v1/models/iris")
        await running.http.delete("/api/v1/servers/mlserver")
        found = await entries(running)
        assert [told(each) for each in found] == [
            ("apply", "Server", "mlserver", None, 1, "created"),
            ("apply", "Model", "iris", None, 1, "created"),
            ("apply", "Model", "bad", None, None, "failed"),
            ("apply", "", "", None, None, "done"),
            ("apply", "Model", "iris", 1, 2, "configured"),
            ("pin", "Model", "iris", 2, 3, "done"),
            ("pin", "Model", "iris", 3, 3, "done"),
            ("evict", "Model", "iris", None, None, "failed"),
            ("unpin", "Model", "iris", 3, 4, "done"),
            ("activate", "Model", "iris", None, None, "done"),
            ("pin", "Model", "nothing", None, None, "failed"),
            ("delete", "Model", "iris", 4, None, "done"),
            ("delete", "Server", "mlserver", 1, None, "done"),
        ]
        assert found[3]["unchanged"] == 2
        assert len({each["request"] for each in found[:3]}) == 1
        assert {each["who"] for each in found} == {"anyone"}
        assert {each["address"] for each in found} == {"local"}
        assert [each["status"] for each in found if each["outcome"] == "failed"] == [200, 409, 404]


async def test_what_only_reads_is_not_told(tmp_path: Path) -> None:
    async with harness(tmp_path) as running:
        for path in ("models", "servers", "secrets", "tokens", "events", "audit", "version"):
            assert (await running.http.get(f"/api/v1/{path}")).status_code == 200
        checked = await running.http.post("/api/v1/validate", json={"documents": []})
        assert checked.status_code == 200
        assert await entries(running) == []


async def test_who_it_was_and_who_was_refused(tmp_path: Path) -> None:
    async with harness(tmp_path) as running:
        me = await token(running, "me", "admin")
        web = await token(running, "web", "infer", by=me)
        viewer = await token(running, "look", "viewer", by=me)
        for each, status in (("", 401), ("ob_guessed", 401), (web, 403), (viewer, 403), (me, 404)):
            answer = await running.http.delete("/api/v1/models/iris", headers=shown(each))
            assert answer.status_code == status
        page = {"origin": "https://evil.example"}
        answer = await running.http.delete("/api/v1/models/iris", headers=shown(me) | page)
        assert answer.status_code == 403
        answer = await running.http.delete(
            "/api/v1/models/iris", headers=shown(me) | {"host": "evil.example"}
        )
        assert answer.status_code == 421
        found = await entries(running, me)
        assert [
            (each["who"], each["token"], each["role"], each["status"], each["outcome"])
            for each in found
        ] == [
            ("anyone", None, None, 201, "done"),
            ("token", "me", "admin", 201, "done"),
            ("token", "me", "admin", 201, "done"),
            *[("unknown", None, None, 401, "refused")] * 2,
            ("token", "web", "infer", 403, "refused"),
            ("token", "look", "viewer", 403, "refused"),
            ("token", "me", "admin", 404, "failed"),
            ("unknown", None, None, 403, "refused"),
            ("unknown", None, None, 421, "refused"),
        ]
        assert [each["name"] for each in found[:3]] == ["me", "web", "look"]
        for each in ("", web, viewer, await token(running, "op", "operator", by=me)):
            answer = await running.http.get("/api/v1/audit", headers=shown(each))
            assert answer.status_code in (401, 403)


async def test_nobody_says_from_where_he_comes(tmp_path: Path) -> None:
    async with harness(tmp_path) as running:
        forged = {"x-forwarded-for": "203.0.113.9", "forwarded": "for=203.0.113.9"}
        await running.http.delete("/api/v1/models/iris", headers=forged)
        assert [each["address"] for each in await entries(running)] == ["local"]


async def test_no_secret_is_in_it(tmp_path: Path) -> None:
    async with harness(tmp_path) as running:
        me = await token(running, "me", "admin")
        body = {"type": "s3", "name": "s3", "parameters": {"secret_access_key": SECRET}}
        ways: list[tuple[str, str, object]] = [
            ("PUT", "/api/v1/secrets/s3", body),
            ("PUT", "/api/v1/secrets/s3", {"text": json.dumps(body)}),
            ("PUT", "/api/v1/secrets/s3", {"nonsense": SECRET}),
            ("DELETE", f"/api/v1/tokens/{me}", None),
            ("DELETE", f"/api/v1/models/{me}", None),
            ("POST", f"/{me}?token={me}&secret={SECRET}", None),
            ("POST", "/api/v1/tokens", {"name": "x", "role": "viewer", "token": me}),
            ("POST", "/api/v1/tokens", {"name": me, "role": "viewer"}),
            ("POST", "/api/v1/apply", {"documents": [{"kind": "Model", "secret": SECRET}]}),
            ("POST", "/api/v1/apply", {"documents": [{"kind": me, "metadata": {"name": me}}]}),
        ]
        for method, path, content in ways:
            answer = await running.http.request(method, path, json=content, headers=shown(me))
            assert answer.status_code != 401
        found = await entries(running, me)
        assert len(found) == 1 + len(ways)
    kept = b"".join(each.read_bytes() for each in (tmp_path / "scheduler" / "audit").iterdir())
    assert kept.count(b"\n") == 1 + len(ways)
    for text in (SECRET, me[3:]):
        assert text.encode() not in kept
        assert text not in json.dumps(found)


async def test_it_is_kept_over_restarts_and_asked_for_in_parts(tmp_path: Path) -> None:
    async with harness(tmp_path) as running:
        for number in range(5):
            await running.http.delete(f"/api/v1/models/m{number}")
    async with harness(tmp_path) as running:
        await running.http.delete("/api/v1/models/m5")
        assert [each["seq"] for each in await entries(running)] == [1, 2, 3, 4, 5, 6]
        assert [each["name"] for each in await entries(running, limit=2)] == ["m4", "m5"]
        assert [each["name"] for each in await entries(running, after=2, limit=2)] == ["m2", "m3"]
        assert [each["seq"] for each in await entries(running, model="m3")] == [4]
        assert await entries(running, after=6) == []
        soon = datetime.now(UTC) + timedelta(hours=1)
        assert await entries(running, since=soon.isoformat()) == []
        long_ago = (soon - timedelta(days=1)).isoformat()
        assert len(await entries(running, since=long_ago)) == 6
        following = asyncio.create_task(entries(running, after=6, wait=30))
        await asyncio.sleep(0.1)
        await running.http.delete("/api/v1/models/m6")
        assert [each["name"] for each in await following] == ["m6"]


@pytest.mark.parametrize(
    "query", ["since=yesterday", "since=2026-11-30T20:15:00", "limit=0", "limit=9999", "after=-1"]
)
async def test_a_wrong_question_is_told_so(tmp_path: Path, query: str) -> None:
    async with harness(tmp_path) as running:
        answer = await running.http.get(f"/api/v1/audit?{query}")
        assert answer.status_code == 400
        assert answer.json()["error"].startswith(f"query.{query.partition('=')[0]}: ")


async def test_a_full_disk_loses_entries_and_not_the_service(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "scheduler").mkdir()
    with small_disk(tmp_path / "scheduler" / "audit", "16k") as folder:
        async with harness(tmp_path) as running:
            await running.apply(server_document())
            filler = fill(folder)
            for number in range(100):
                document = server_document(f"s{number}", memory="1M")
                (result,) = await running.apply(document)
                assert result["action"] == "created"
            assert len([each for each in caplog.records if "audit log" in each.message]) == 1
            events = (await running.http.get("/api/v1/events")).json()["events"]
            lost = [each for each in events if each["reason"] == "AuditLost"]
            assert [(each["type"], each["kind"]) for each in lost] == [("Warning", "Scheduler")]
            assert "No space left on device" in lost[0]["message"]
            page = (await running.http.get("/metrics")).text
            assert "overbook_audit_lost_entries_total" in page
            filler.unlink()
            await running.http.delete("/api/v1/servers/s0")
            found = await entries(running)
            assert found[0]["name"] == "mlserver"
            assert (found[-1]["verb"], found[-1]["name"]) == ("delete", "s0")
            assert found[-1]["lost"] == 102 - len(found)


async def test_a_storm_of_strangers_pushes_out_no_change(tmp_path: Path) -> None:
    async with harness(tmp_path) as running:
        me = await token(running, "me", "admin")
        async with httpx.AsyncClient(base_url=running.scheduler.api_url) as http:
            for _ in range(20):
                await asyncio.gather(*(http.delete("/api/v1/models/x") for _ in range(20)))
        folder = tmp_path / "scheduler" / "audit"
        assert (folder / "changes.jsonl").read_bytes().count(b"\n") == 1
        assert (folder / "refusals.jsonl").read_bytes().count(b"\n") == 400
        assert (await entries(running, me, after=0, limit=1))[0]["name"] == "me"
