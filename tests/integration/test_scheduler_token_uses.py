"""What gateways tell of tokens that were used, in the real control API's list."""

from __future__ import annotations

import time
from pathlib import Path

import grpc.aio

from overbook.wire import scheduler_pb2 as pb
from overbook.wire import scheduler_pb2_grpc
from tests.integration.scheduler_harness import harness, until


async def test_a_gateway_tells_when_tokens_were_used(tmp_path: Path) -> None:
    async with harness(tmp_path) as running:
        answer = await running.http.post("/api/v1/tokens", json={"name": "me", "role": "admin"})
        running.http.headers["authorization"] = f"Bearer {answer.json()['token']}"
        answer = await running.http.post("/api/v1/tokens", json={"name": "web", "role": "infer"})

        async def last_used() -> dict[str, str | None]:
            listed = (await running.http.get("/api/v1/tokens")).json()
            return {each["name"]: each["lastUsed"] for each in listed}

        assert (await last_used())["web"] is None
        async with grpc.aio.insecure_channel(running.scheduler.grpc_target) as channel:
            call = scheduler_pb2_grpc.SchedulerServiceStub(channel).WatchCatalogue()
            await call.write(pb.WatchCatalogueRequest(gateway="here"))
            # A clock that is ahead of this one is not believed.
            used = {"web": 1_700_000_000.0, "gone": 5.0, "me": time.time() + 1e6}
            await call.write(pb.WatchCatalogueRequest(used=used))

            async def is_told() -> bool:
                return (await last_used())["web"] is not None

            await until("the use is listed", is_told)
            call.cancel()
        found = await last_used()
        assert found["web"] == "2023-11-14T22:13:20.000Z"
        assert found["me"] is not None
        assert found["me"] < "2100"
        assert "gone" not in found
