"""What was acknowledged survives kill -9; what could not be written is said and undone."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from overbook.scheduler import store
from overbook.scheduler.errors import StoreError
from overbook.scheduler.store import Batch, Store
from tests.integration.scheduler_harness import (
    ScriptedAgent,
    harness,
    model_document,
    server_document,
    until,
)

WRITER = """
import sys
from pathlib import Path
from overbook.scheduler.store import Batch, ModelRow, SeatRow, Store

store = Store(Path(sys.argv[1]))
for number in range(100000):
    row = ModelRow(f"m{number}", "v", 1, 1, "", "{}", None, float(number), 0, "f", 1, 0)
    store.commit(Batch(models=[row], seats=[SeatRow(f"m{number}", "s", 0, 0)]))
    print(number, flush=True)
"""


def test_every_acknowledged_write_survives_kill_minus_nine(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        for _ in range(200):
            writer.stdout.readline()
        os.kill(writer.pid, signal.SIGKILL)
        rest = [line for line in writer.stdout.read().splitlines() if line]
        acknowledged = 200 + len(rest)
    reopened = Store(path)
    try:
        found = reopened.load()
    finally:
        reopened.close()
    assert acknowledged <= len(found.models) <= acknowledged + 1
    assert len(found.seats) == len(found.models), "a transaction is there whole or not at all"


async def test_what_cannot_be_written_is_undone_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "iris.joblib").write_bytes(b"x")
    artifact = tmp_path / "iris.joblib"
    real = store.Store.commit

    def full(self: Store, batch: Batch) -> None:
        raise StoreError("state store: could not be written (database or disk is full)")

    async with harness(tmp_path) as running:
        agent = ScriptedAgent("mlserver/0")
        await running.apply(server_document(), model_document("before", artifact))
        await running.agent(agent)
        await running.until_reason("before", "ModelAvailable")
        monkeypatch.setattr(store.Store, "commit", full)
        documents = {"documents": [model_document("after", artifact)]}
        answer = await running.http.post("/api/v1/apply", json=documents)
        assert answer.status_code == 503
        assert "disk is full" in answer.json()["error"]
        assert (await running.http.delete("/api/v1/models/before")).status_code == 503
        assert await running.reason("after") == "404"
        # What an agent says meanwhile is not lost, nor does it cost the agent its session.
        agent.report("before", available=False, failed="it broke meanwhile")
        await asyncio.sleep(0.1)
        assert not agent.closed.is_set()
        agent.report("before")
        await running.until_reason("before", "ModelAvailable")
        monkeypatch.setattr(store.Store, "commit", real)
        assert (await running.apply(model_document("after", artifact)))[0]["error"] is None
        await until("both are assigned", lambda: set(agent.assigned) == {"before", "after"})
        await running.until_reason("after", "ModelAvailable")
