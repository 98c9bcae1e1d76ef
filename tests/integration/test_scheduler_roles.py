"""Requests made of the control API's own description, by each role: none is answered what it may not have."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import httpx
import pytest

from overbook.scheduler.web.limits import Limits
from tests.integration.generated_requests import KNOWN, Generated, recorded, schemathesis
from tests.integration.scheduler_harness import (
    Harness,
    ScriptedAgent,
    harness,
    model_document,
    server_document,
    until,
)

_NONE: Final = "none"
# What docs/security.md says, for each that may not do everything: method and path, as whoever serves decodes them.
_MAY: Final = {
    _NONE: r"GET /(healthz|readyz|docs|openapi\.json)?",
    "infer": r"GET /(healthz|readyz|docs|openapi\.json)?",
    "viewer": r"GET /(healthz|readyz|docs|openapi\.json|metrics)?"
    r"|GET /api/v1/(version|events|(models|servers)(/[^/]*(/describe)?)?)",
    "operator": r"GET /(?!api/v1/(tokens|audit)).*|POST /api/v1/(apply|validate|models/[^/]*/\w+)"
    r"|DELETE /api/v1/(models|servers)/[^/]*",
}
# What is refused before anybody is asked who they are: what is no request, or for another host or origin.
_BEFORE: Final = {400, 421}


@pytest.mark.slow
async def test_no_role_is_answered_what_it_may_not_have(tmp_path: Path) -> None:
    (tmp_path / "iris").mkdir()
    (tmp_path / "iris" / "model.joblib").write_bytes(b"x" * 50)
    async with harness(tmp_path, limits=Limits(waiting=0)) as running:
        agent = ScriptedAgent("mlserver/0")
        await running.apply(server_document())
        await running.agent(agent)
        await running.apply(model_document("iris", tmp_path / "iris"))
        await until("it is assigned", lambda: "iris" in agent.assigned)
        shown = await _tokens(running)
        # Nobody's token, and the rest of what is asked: the same requests are sent again by the others.
        checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
        report = ("--report", "har", "--report-har-path", "sent.har", "--checks", checks)
        url = running.scheduler.api_url
        assert await schemathesis(url, tmp_path, KNOWN, "--max-examples", "5", *report) == ""
        sent = [*recorded(tmp_path / "sent.har")]
        assert len(sent) > 300
        before = await _what_there_is(running, shown["admin"])
        wrong = _wrong(_NONE, [(each, each.status) for each in sent])
        for role in ("infer", "viewer"):
            wrong += _wrong(role, await _again(sent, shown[role]))
        assert wrong == []
        assert await _what_there_is(running, shown["admin"]) == before, (
            "one of them changed something"
        )
        answered = await _again(sent, shown["operator"])
        assert _wrong("operator", answered) == []
        served = Counter(
            f"{each.method} {urlsplit(each.url).path}" for each, status in answered if status == 200
        )
        assert {"POST /api/v1/apply", "GET /api/v1/models", "GET /api/v1/secrets"} <= served.keys()


async def _tokens(running: Harness) -> dict[str, dict[str, str]]:
    """One of each role: what its holder shows."""
    shown: dict[str, dict[str, str]] = {}
    for role in ("admin", "operator", "viewer", "infer"):
        made = await running.http.post(
            "/api/v1/tokens", json={"name": role, "role": role}, headers=shown.get("admin", {})
        )
        assert made.status_code == 201
        shown[role] = {"authorization": f"Bearer {made.json()['token']}"}
    return shown


async def _what_there_is(running: Harness, admin: dict[str, str]) -> list[object]:
    found: list[object] = []
    for path in ("models", "servers", "secrets", "tokens"):
        answer = await running.http.get(f"/api/v1/{path}", headers=admin)
        assert answer.status_code == 200
        # When a token was used last is no change that anybody made.
        found.append(re.sub(r'"lastUsed":("[^"]*"|null)', "", answer.text))
    return found


async def _again(sent: list[Generated], shown: dict[str, str]) -> list[tuple[Generated, int]]:
    answered = []
    async with httpx.AsyncClient(timeout=60) as client:
        for each in sent:
            headers = [*each.headers, *shown.items()]
            request = client.build_request(
                each.method, each.url, headers=headers, content=each.body
            )
            answered.append((each, (await client.send(request)).status_code))
    return answered


def _wrong(role: str, answered: list[tuple[Generated, int]]) -> list[str]:
    """Those that were not refused as they should."""
    refused = {401 if role == _NONE else 403, *_BEFORE}
    found = []
    for each, status in answered:
        call = f"{each.method} {unquote(urlsplit(each.url).path)}"
        if not re.fullmatch(_MAY[role], call, re.DOTALL) and status not in refused:
            found.append(f"{role}: {call[:100]}: {status}")
    return found
