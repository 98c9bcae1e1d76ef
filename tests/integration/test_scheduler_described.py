"""Each call of the control API with each answer that its description has: against the real uvicorn, to the letter."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from overbook.scheduler.audit.log import MOST_READERS
from overbook.scheduler.errors import StoreError
from overbook.scheduler.logs import READERS
from overbook.scheduler.store import Batch, Store
from overbook.scheduler.web.limits import Limits
from tests.integration.scheduler_harness import (
    Harness,
    ScriptedAgent,
    harness,
    model_document,
    server_document,
    until,
)
from tests.unit.scheduler.described import description

COMMANDS = ("activate", "evict", "pin", "unpin")
JSON = {"content-type": "application/json"}
# What a small scheduler takes: a body of more than HELD bytes is too much beside others, one of more than SMALL by
# itself.
SMALL, HELD = 5000, 4000
LIMITS = Limits(SMALL, SMALL, SMALL, HELD, body_seconds=0.5, waiting=0)


class Caller:
    """Calls, and notes how it was answered. Whether the content is as described the harness looks at each time."""

    def __init__(self, running: Harness) -> None:
        self._running = running
        self.seen: set[tuple[str, str, int]] = set()

    async def __call__(self, method: str, url: str, status: int, body: object = None) -> None:
        await self.sends(method, url, status, json=body)

    async def sends(self, method: str, url: str, status: int, **request: Any) -> httpx.Response:
        """As `httpx` is told."""
        answer = await self._running.http.request(method, url, **request)
        assert answer.status_code == status, f"{method} {url}: {answer.text}"
        self.seen.add((method, description().path(method, url), status))
        return answer

    async def begins(self, method: str, url: str, status: int) -> None:
        """Sends some of a body, and no more."""
        assert await self._running.begun(method, url, b"[") == status
        self.seen.add((method, description().path(method, url), status))


async def test_each_answer_that_is_described_is_answered_and_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = tmp_path / "iris"
    artifact.mkdir()
    (artifact / "model.joblib").write_bytes(b"x" * 50)
    missing: str | None = "gateway is not serving"
    async with harness(tmp_path, missing=lambda: missing, limits=LIMITS) as running:
        call = Caller(running)
        await call("GET", "/readyz", 503)
        missing = None
        await applies(call, artifact)
        agent = ScriptedAgent("mlserver/0")
        session = await running.agent(agent)
        await running.until_reason("iris", "ModelAvailable")
        await reads(call)
        await commands(call)
        await refusals(call)
        await too_many_readers(call, running)
        await audited(call, running, tmp_path / "scheduler" / "audit")
        for method, path in description().operations:
            url = path.format(name="iris", replica=0)
            await call.sends(method, url, 403, headers={"origin": "https://evil.example"})
            await call.sends(method, url, 421, headers={"host": "evil.example"})
            if method != "GET":
                await bodies(call, method, url)
        await conflicts(call, running, agent)
        await secrets(call, tmp_path / "scheduler" / "secrets.key")
        session.cancel()
        await unavailable(call, artifact, monkeypatch)
        await call("DELETE", "/api/v1/models/iris", 200)
        await call("DELETE", "/api/v1/servers/mlserver", 200)
        await tokens(call, monkeypatch)
    assert description().answers == call.seen


LOG = "/api/v1/servers/mlserver/replicas/0/log"


async def applies(call: Caller, artifact: Path) -> None:
    """Documents of each kind of fate."""
    documents = [
        server_document(),
        model_document("iris", artifact),
        model_document("wine", artifact),
        model_document("huge", artifact, memory="1Gi"),
        model_document("Bad_Name", artifact),
        "no manifest",
    ]
    for path in ("/api/v1/validate", "/api/v1/apply", "/api/v1/apply"):
        await call("POST", path, 200, {"documents": documents})
        await call("POST", path, 400, {"documents": 7})


async def reads(call: Caller) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/api/v1/version", "/api/v1/events"):
        await call("GET", path, 200)
    await call("GET", "/api/v1/events?after=1&model=iris", 200)
    await call("GET", "/api/v1/events?wait=1000", 400)
    await call("GET", "/api/v1/events?model=nobody&wait=5", 429)
    await call("GET", "/api/v1/audit?limit=5&model=iris", 200)
    await call("GET", "/api/v1/audit?since=yesterday", 400)
    await call("GET", f"{LOG}?lines=5&model=iris", 200)
    await call("GET", f"{LOG}?lines=-1", 400)
    for kind, name in (("models", "iris"), ("models", "huge"), ("servers", "mlserver")):
        await call("GET", f"/api/v1/{kind}", 200)
        await call("GET", f"/api/v1/{kind}/{name}", 200)
        await call("GET", f"/api/v1/{kind}/{name}/describe", 200)


async def commands(call: Caller) -> None:
    for each in COMMANDS:
        await call("POST", f"/api/v1/models/iris/{each}", 200)
    await call("POST", "/api/v1/models/iris/activate", 200, {"timeout": 5})


async def refusals(call: Caller) -> None:
    """Nobody of that name, and bodies that are wrong."""
    await call("GET", LOG.replace("/0/", "/7/"), 404)
    for kind in ("models", "servers"):
        await call("GET", f"/api/v1/{kind}/who", 404)
        await call("GET", f"/api/v1/{kind}/who/describe", 404)
        await call("DELETE", f"/api/v1/{kind}/who", 404)
    for each in COMMANDS:
        await call("POST", f"/api/v1/models/who/{each}", 404)
    for each in ("activate", "evict"):
        await call("POST", f"/api/v1/models/iris/{each}", 400, {"timeout": 0})


async def too_many_readers(call: Caller, running: Harness) -> None:
    waits = [
        asyncio.create_task(running.http.get(f"{LOG}?wait=30&model=nobody&after=9"))
        for _ in range(READERS)
    ]
    await until("they wait", lambda: running.scheduler.running == READERS)
    await call("GET", LOG, 429)
    for each in waits:
        each.cancel()
    await asyncio.gather(*waits, return_exceptions=True)
    await until("they are gone", lambda: not running.scheduler.running)


async def audited(call: Caller, running: Harness, folder: Path) -> None:
    """Too many follow what nobody does any more, and then it cannot be read."""
    last = (await running.http.get("/api/v1/audit")).json()["last"]
    url = f"/api/v1/audit?after={last}&wait=30"
    waits = [asyncio.create_task(running.http.get(url)) for _ in range(MOST_READERS)]
    await until("they wait", lambda: running.scheduler.running == MOST_READERS)
    await asyncio.sleep(0.2)  # until each has looked once
    await call("GET", url, 429)
    for each in waits:
        each.cancel()
    await asyncio.gather(*waits, return_exceptions=True)
    await until("they are gone", lambda: not running.scheduler.running)
    (folder / "changes.jsonl").rename(folder / "kept")
    (folder / "changes.jsonl").mkdir()
    await call("GET", url, 503)
    (folder / "changes.jsonl").rmdir()
    (folder / "kept").rename(folder / "changes.jsonl")


async def bodies(call: Caller, method: str, url: str) -> None:
    """What no call takes, whichever it is."""

    await call.sends(method, url, 400, content=b"[" * 100, headers=JSON)
    await call.begins(method, url, 408)
    await call.sends(method, url, 413, content=b"1" * (SMALL + 1), headers=JSON)
    await call.sends(method, url, 415, content=b"{}", headers={"content-type": "text/plain"})
    await call.sends(method, url, 429, content=b"1" * (HELD + 1), headers=JSON)


async def conflicts(call: Caller, running: Harness, agent: ScriptedAgent) -> None:
    """A model that is being removed, for as long as its agent does not say that it is gone."""
    agent.gone_at_once = False
    await call("DELETE", "/api/v1/models/wine", 200)
    await running.until_reason("wine", "ModelTerminating")
    await call("GET", "/api/v1/models/wine/describe", 200)
    for each in COMMANDS:
        await call("POST", f"/api/v1/models/wine/{each}", 409)
    agent.say_gone("wine")
    await running.until_reason("wine", "404")


async def secrets(call: Caller, key: Path) -> None:
    """One that is named by a model and one that is not; then the key is lost, and the next cannot be sealed."""
    url = "/api/v1/secrets/minio"
    await call("PUT", url, 200, {"name": "m", "type": "s3", "parameters": {"key": "x", "n": 5}})
    await call("PUT", url, 200, {"text": "name: m\ntype: s3"})
    await call("PUT", url, 400, {"text": "name: m"})
    await call("GET", "/api/v1/secrets", 200)
    await asyncio.to_thread(key.unlink)
    await call("PUT", "/api/v1/secrets/other", 409, {"text": "name: m\ntype: s3"})
    await call("DELETE", url, 200)
    await call("DELETE", url, 404)


async def unavailable(call: Caller, artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent is away, and then the disk is full."""
    await call("GET", LOG, 503)
    for each in ("activate", "evict"):
        await call("POST", f"/api/v1/models/iris/{each}", 503)

    await call("PUT", "/api/v1/secrets/old", 200, {"text": "name: m\ntype: s3"})

    with monkeypatch.context() as patch:
        patch.setattr(Store, "commit", full)
        documents = [model_document("new", artifact)]
        await call("POST", "/api/v1/apply", 503, {"documents": documents})
        await call("POST", "/api/v1/models/iris/pin", 503)
        await call("POST", "/api/v1/models/huge/unpin", 503)
        await call("PUT", "/api/v1/secrets/new", 503, {"text": "name: m\ntype: s3"})
        await call("DELETE", "/api/v1/secrets/old", 503)
        await call("DELETE", "/api/v1/models/iris", 503)
        await call("DELETE", "/api/v1/servers/mlserver", 503)


async def tokens(call: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until there is one nobody is asked; then everybody is, by each call that has to do with anything."""
    url = "/api/v1/tokens"
    await call("GET", url, 200)
    await call("POST", url, 409, {"name": "eyes", "role": "viewer"})
    await call("POST", url, 400, {"name": "no name", "role": "admin"})
    made = await call.sends("POST", url, 201, json={"name": "boss", "role": "admin"})
    for method, path, status in description().answers:
        if status == 401:
            await call(method, path.format(name="iris", replica=0), 401)
    shown = {"authorization": f"Bearer {made.json()['token']}"}
    eyes = {"name": "eyes", "role": "viewer"}
    with monkeypatch.context() as patch:
        patch.setattr(Store, "commit", full)
        await call.sends("POST", url, 503, json=eyes, headers=shown)
        await call.sends("DELETE", f"{url}/boss", 503, headers=shown)
    await call.sends("POST", url, 201, json=eyes, headers=shown)
    await call.sends("DELETE", f"{url}/boss", 409, headers=shown)
    await call.sends("DELETE", f"{url}/eyes", 200, headers=shown)
    await call.sends("DELETE", f"{url}/eyes", 404, headers=shown)


def full(store: Store, batch: Batch) -> None:
    raise StoreError("the disk is full")
