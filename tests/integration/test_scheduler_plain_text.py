"""A model that writes escape sequences into its errors: no store, no answer and no command passes them on."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from tests.integration.scheduler_harness import (
    Harness,
    ScriptedAgent,
    harness,
    model_document,
    server_document,
    until,
)

# Renames the window, fills the clipboard, clears the screen, rings, and writes backwards.
EVIL = "\x1b]0;owned\x07\x1b]52;c;cm0gLXJmIH4=\x07\x1b[2J\x07cannot be loaded\u202e\x9b31m\r"
SAID = "cannot be loaded"
OBEYED = ("\x1b", "\x07", "\x9b", "\r", "\u202e")


def clean(text: str) -> bool:
    return not any(each in text for each in OBEYED)


async def typed(running: Harness, *arguments: str) -> str:
    """What a command writes to people."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "overbook", *arguments),
        env=os.environ | {"OVERBOOK_API_URL": running.scheduler.api_url, "COLUMNS": "200"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return out.decode()


async def test_what_a_model_says_is_text(tmp_path: Path) -> None:
    (tmp_path / "iris").mkdir()
    (tmp_path / "iris" / "model.joblib").write_bytes(b"x" * 50)
    async with harness(tmp_path) as running:
        agent = ScriptedAgent("mlserver/0")
        agent.command_reason = EVIL
        await running.apply(server_document())
        await running.agent(agent)
        await running.apply(model_document("iris", tmp_path / "iris"))
        await until("it is assigned", lambda: "iris" in agent.assigned)
        agent.report("iris", failed=EVIL)
        agent.say_event("LoadFailed", "iris", EVIL)
        agent.report_server(state="failed", message=EVIL)
        await running.until_reason("iris", "ModelFailed")

        async def told() -> bool:
            return SAID in (await running.http.get("/api/v1/servers")).text

        await until("the server is told of", told)
        for path in (
            *("models", "models/iris", "models/iris/describe", "events"),
            *("servers", "servers/mlserver/describe"),
        ):
            answer = await running.http.get(f"/api/v1/{path}")
            assert SAID in answer.text, path
            # JSON may write a character as its number.
            assert clean(str(answer.json())), path
            assert "\\x1b" not in str(answer.json()).replace("\\\\", ""), path
        refused = await running.http.post("/api/v1/models/iris/activate")
        assert refused.status_code == 503
        assert SAID in refused.json()["error"]
        assert clean(refused.json()["error"])
        for command in (
            ("get", "models", "-o", "wide"),
            ("get", "models", "-o", "json"),
            ("get", "models", "-o", "yaml"),
            ("describe", "model", "iris"),
            ("describe", "server", "mlserver"),
            ("events",),
            ("activate", "iris"),
        ):
            out = await typed(running, *command)
            assert SAID in out, (command, out)
            assert clean(out), (command, out)
