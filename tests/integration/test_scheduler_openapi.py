"""Requests made of the control API's own description, sent to the real one: each answer is as the description says."""

from __future__ import annotations

from pathlib import Path

import pytest

from overbook.scheduler.web.limits import Limits
from tests.integration.generated_requests import KNOWN, schemathesis
from tests.integration.scheduler_harness import (
    ScriptedAgent,
    harness,
    model_document,
    server_document,
    until,
)

# Seconds in which cases are tried. Which ones they are is the same in every run.
_SECONDS = 40
# With the first token everything else would be refused.
_TOKENLESS = """
[[operations]]
include-path = "/api/v1/tokens"
include-method = "POST"
enabled = false
"""


@pytest.mark.slow
async def test_the_api_is_as_it_describes_itself(tmp_path: Path) -> None:
    (tmp_path / "iris").mkdir()
    (tmp_path / "iris" / "model.joblib").write_bytes(b"x" * 50)
    # Who waits for events is told at once that nobody may.
    async with harness(tmp_path, limits=Limits(waiting=0)) as running:
        agent = ScriptedAgent("mlserver/0")
        agent.server_log = [b"a line\n"] * 5
        await running.apply(server_document())
        await running.agent(agent)
        await running.apply(model_document("iris", tmp_path / "iris"))
        await until("it is assigned", lambda: "iris" in agent.assigned)
        limits = ("--max-examples", "10", "--max-time", str(_SECONDS))
        url = running.scheduler.api_url
        assert await schemathesis(url, tmp_path, KNOWN + _TOKENLESS, *limits) == ""
        assert (await running.http.get("/healthz")).status_code == 200


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/api/v1/apply", "POST"),
        ("/api/v1/models", "GET"),
        ("/api/v1/models/iris", "DELETE, GET"),
        ("/api/v1/secrets/minio", "DELETE, PUT"),
        ("/healthz", "GET"),
    ],
)
async def test_a_method_that_there_is_not_is_told_those_that_there_are(
    tmp_path: Path, path: str, allowed: str
) -> None:
    async with harness(tmp_path) as running:
        answer = await running.http.request("PATCH", path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
        assert allowed in answer.json()["error"]
