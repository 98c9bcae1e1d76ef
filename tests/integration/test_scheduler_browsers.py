"""Web pages of others, and names that lead here by somebody's will, get nothing from the real control API."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.integration.scheduler_harness import Harness, harness, server_document
from tests.unit.scheduler.described import description

EVIL = "https://evil.example"
CONSOLE = "https://console.example"
OPERATIONS = sorted(description().operations)
CHANGES = [(method, path) for method, path in OPERATIONS if method != "GET"]
REFUSED_READS = [path for method, path in OPERATIONS if method == "GET"]
# What goes along with a request that a page may send without asking first.
SIMPLE = {"content-type": "text/plain"}


async def status(
    running: Harness, method: str, path: str, headers: Mapping[str, str], content: bytes = b""
) -> int:
    url = path.format(name="mlserver", replica=0)
    answer = await running.http.request(method, url, headers=dict(headers), content=content)
    if answer.status_code in (403, 421):
        assert list(answer.json()) == ["error"]
        assert "\n" not in answer.json()["error"]
    return answer.status_code


def test_there_is_something_to_protect() -> None:
    assert len(CHANGES) >= 10
    assert ("POST", "/api/v1/models/{name}/evict") in CHANGES


async def test_no_page_of_others_changes_anything(tmp_path: Path) -> None:
    async with harness(tmp_path) as running:
        await running.apply(server_document())
        for method, path in CHANGES:
            for headers in (
                {"origin": EVIL},
                {"origin": "null"},
                {"origin": "http://127.0.0.1:9000", "sec-fetch-site": "same-site"},
                {"sec-fetch-site": "cross-site"},
                {"sec-fetch-site": "same-site"},
            ):
                for more in ({}, SIMPLE):
                    assert await status(running, method, path, headers | more) == 403, path
        assert [
            each["metadata"]["name"] for each in (await running.http.get("/api/v1/servers")).json()
        ] == ["mlserver"]


async def test_no_page_of_others_reads_or_waits(tmp_path: Path) -> None:
    async with harness(tmp_path) as running:
        for path in REFUSED_READS:
            for headers in ({"origin": EVIL}, {"sec-fetch-site": "cross-site"}):
                assert await status(running, "GET", path, headers) == 403, path
        answer = await running.http.options(
            "/api/v1/apply", headers={"origin": EVIL, "access-control-request-method": "POST"}
        )
        assert answer.status_code == 403
        assert not [each for each in answer.headers if each.startswith("access-control")]


async def test_a_name_that_leads_here_gets_nothing(tmp_path: Path) -> None:
    """What DNS rebinding looks like: to the browser it is one origin, so it says same-origin."""
    async with harness(tmp_path) as running:
        for method, path in [*OPERATIONS, ("GET", "/docs"), ("GET", "/openapi.json"), ("GET", "/")]:
            for name in ("evil.example", "evil.example:9001", "127.0.0.1.evil.example", ""):
                own = {"host": name, "origin": f"http://{name}", "sec-fetch-site": "same-origin"}
                assert await status(running, method, path, own) == 421, path


async def test_names_of_this_machine_and_those_allowed(tmp_path: Path) -> None:
    async with harness(tmp_path, allowed_hosts=("api.example", "*.svc")) as running:
        for name in (
            *("localhost:9001", "127.0.0.1", "[::1]:9001", "10.2.3.4:9001", socket.gethostname()),
            *("api.example", "overbook.prod.svc"),
        ):
            for path in ("/healthz", "/readyz", "/metrics", "/api/v1/models"):
                assert await status(running, "GET", path, {"host": name}) == 200, name
        for name in ("svc", "api.example.evil.example"):
            assert await status(running, "GET", "/healthz", {"host": name}) == 421


async def test_programs_that_name_nobody_are_let_in(tmp_path: Path) -> None:
    async with harness(tmp_path) as running:
        host, _, port = running.scheduler.api_url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /healthz HTTP/1.0\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_a_page_that_is_named_may_all(tmp_path: Path) -> None:
    headers = {"origin": CONSOLE, "sec-fetch-site": "cross-site"}
    async with harness(tmp_path, cors_origins=(CONSOLE,)) as running:
        asks = headers | {
            "access-control-request-method": "POST",
            "access-control-request-headers": "content-type",
        }
        answer = await running.http.options("/api/v1/apply", headers=asks)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == CONSOLE
        answer = await running.http.post(
            "/api/v1/validate", json={"documents": []}, headers=headers
        )
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == CONSOLE
        # What is refused it can read, too.
        answer = await running.http.post("/api/v1/apply", content=b"{}", headers=headers | SIMPLE)
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (415, CONSOLE)
        assert await status(running, "POST", "/api/v1/apply", {"origin": EVIL}) == 403


async def test_without_a_named_page_there_is_no_cors(tmp_path: Path) -> None:
    async with harness(tmp_path) as running:
        own = {"origin": running.scheduler.api_url}
        answer = await running.http.get("/api/v1/models", headers=own)
        assert answer.status_code == 200
        assert not [each for each in answer.headers if each.startswith("access-control")]


async def test_the_page_about_the_api_needs_nobody(tmp_path: Path) -> None:
    async with harness(tmp_path) as running:
        answer = await running.http.get("/docs")
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert "<script" not in answer.text
        assert "//" not in answer.text
        assert "/api/v1/models/{name}/evict" in answer.text
        for path in ("/redoc", "/docs/oauth2-redirect"):
            assert (await running.http.get(path)).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "headers", "code"),
    [
        ("GET", "/healthz", {}, 200),
        ("GET", "/api/v1/models", {}, 200),
        ("GET", "/docs", {}, 200),
        ("GET", "/nothing", {}, 404),
        ("POST", "/api/v1/models", {}, 405),
        ("POST", "/api/v1/apply", {"origin": EVIL}, 403),
        ("GET", "/", {"host": "evil.example"}, 421),
    ],
)
async def test_every_answer_tells_browsers_what_not_to_do(
    tmp_path: Path, method: str, path: str, headers: dict[str, str], code: int
) -> None:
    async with harness(tmp_path) as running:
        answer = await running.http.request(method, path, headers=headers)
        assert answer.status_code == code
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["x-frame-options"] == "DENY"
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "server" not in answer.headers
