"""What would bring the control API down, sent to the real one: it is refused, soon, and the others are answered."""

from __future__ import annotations

import asyncio
import json
import resource
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from overbook.scheduler.request_bodies import MAX_DOCUMENTS
from overbook.scheduler.web.limits import Limits
from tests.integration.scheduler_harness import Harness, harness, model_document, until

JSON = {"content-type": "application/json"}
APPLY = "/api/v1/apply"
MIB = 1024 * 1024


def peak() -> int:
    """Bytes that this process, and with it the scheduler, has ever had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@asynccontextmanager
async def others_answered(running: Harness, within: float = 3.0) -> AsyncIterator[None]:
    """Somebody else's calls are answered all the while. They share a process with the client, so not at once."""
    slowest = 0.0
    over = asyncio.Event()

    async def ask() -> None:
        nonlocal slowest
        async with httpx.AsyncClient(base_url=running.scheduler.api_url, timeout=60) as http:
            while not over.is_set():
                began = time.monotonic()
                assert (await http.get("/healthz")).status_code == 200
                slowest = max(slowest, time.monotonic() - began)
                await asyncio.sleep(0.005)

    async with asyncio.TaskGroup() as group:
        group.create_task(ask())
        yield
        over.set()
    assert slowest < within, f"somebody waited {slowest:.2f} s"


def documents(text: bytes, count: int) -> bytes:
    return b'{"documents":[' + b",".join([text] * count) + b"]}"


async def refused(running: Harness, body: bytes, status: int, url: str = APPLY) -> str:
    """The one line in which a body is refused, within a second or two."""
    before, began = peak(), time.monotonic()
    async with others_answered(running):
        answer = await running.http.post(url, content=body, headers=JSON)
    assert time.monotonic() - began < 5
    assert peak() - before < 300 * MIB
    assert answer.status_code == status, answer.text[:300]
    error = answer.json()["error"]
    assert isinstance(error, str)
    assert len(error) < 300
    assert "\n" not in error
    return error


@pytest.mark.parametrize(
    ("body", "status", "why"),
    [
        (documents(b"{}", 20_000_000), 413, "more than 16777216 bytes"),
        (documents(b"{}", 2_000_000), 400, "more than 500000 values"),
        (documents(b'""', 5_000_000), 400, "more than 500000 values"),
        (documents(b"1", MAX_DOCUMENTS + 1), 400, f"at most {MAX_DOCUMENTS} items"),
        (documents(b"[" * 100_000, 1), 400, "more than 66 deep"),
    ],
    ids=["60 MB of nothing", "6 MB of nothing", "strings", "documents", "depth"],
)
async def test_a_body_that_would_grow_is_refused_before_it_does(
    tmp_path: Path, body: bytes, status: int, why: str
) -> None:
    async with harness(tmp_path) as running:
        assert why in await refused(running, body, status)
        assert (await running.http.get("/api/v1/models")).json() == []


async def test_ten_thousand_models_in_one_call_are_welcome(tmp_path: Path) -> None:
    (tmp_path / "iris").mkdir()
    (tmp_path / "iris" / "model.joblib").write_bytes(b"x" * 50)
    models = [
        model_document(
            f"team-a-model-{number}",
            tmp_path / "iris",
            requirements=["sklearn"],
            parameters=[{"name": "threshold", "value": "0.5"}, {"name": "note", "value": "x" * 60}],
        )
        for number in range(10_000)
    ]
    body = json.dumps({"documents": models}).encode()
    assert len(body) > 3_000_000
    async with harness(tmp_path) as running:
        async with others_answered(running, within=5):
            answer = await running.http.post(APPLY, content=body, headers=JSON, timeout=120)
        assert answer.status_code == 200, answer.text[:300]
        results = answer.json()["results"]
        assert {each["action"] for each in results} == {"created"}
        assert len(results) == 10_000


def odd(**changes: Any) -> bytes:
    document = model_document("iris", Path("/nowhere")) | changes
    return json.dumps({"documents": [document]}).encode()


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (odd(**{f"field{number}": 1 for number in range(60_000)}), "more than 10000 values"),
        (odd(**{f"field{number}": 1 for number in range(9_000)}), "8995 more unknown fields"),
        (odd(spec={"storageUri": "/x", "requirements": [1] * 9_000}), "is not text"),
        (odd(metadata={"name": "x" * 5_000_000}), "is not a name"),
        (odd(kind="x" * 5_000_000), "is not known"),
        (odd(kind="x" * 5_000_000, apiVersion="y" * 5_000_000), ""),
        (
            odd(spec={"storageUri": "\n" * 5_000_000}),
            "has 5000000 characters; expected at most 4096",
        ),
        (odd(spec={"storageUri": "/x", "memory": "9" * 5_000_000}), "expected at most 100"),
        (odd(spec={"storageUri": "/x", "keepAlive": "9" * 5_000_000}), "expected at most 100"),
        (
            odd(spec={"storageUri": "/x", "requirements": ["x=" * 2_000_000]}),
            "expected at most 4096",
        ),
        (odd(**{"x" * 5_000_000: 1}), "unknown field"),
    ],
    ids=[
        *("60,000 fields", "9,000 fields", "9,000 problems", "name", "kind", "of others"),
        *("word", "quantity", "duration", "requirement", "field"),
    ],
)
async def test_an_error_echoes_at_most_a_line(tmp_path: Path, body: bytes, why: str) -> None:
    async with harness(tmp_path) as running:
        async with others_answered(running):
            answer = await running.http.post(APPLY, content=body, headers=JSON)
        assert answer.status_code == 200, answer.text[:300]
        assert len(answer.content) < 3000
        (result,) = answer.json()["results"]
        assert result["action"] == ("failed" if why else "skipped")
        assert why in (result["error"] or "")
        assert "\n" not in (result["error"] or "")


async def test_unknown_fields_of_a_body_are_one_error(tmp_path: Path) -> None:
    body = json.dumps({f"field{number}": 1 for number in range(100_000)}).encode()
    async with harness(tmp_path) as running:
        assert "field0 is an unknown field" in await refused(running, body, 400)
        small = json.dumps({"more" * 1000: 1}).encode()
        url = "/api/v1/models/iris/evict"
        assert "unknown field; expected timeout" in await refused(running, small, 400, url)


@pytest.mark.parametrize("body", [b'{"timeout": "5"}', b'{"timeout": true}', b'{"timeout": [5]}'])
async def test_a_number_is_not_a_string(tmp_path: Path, body: bytes) -> None:
    async with harness(tmp_path) as running:
        error = await refused(running, body, 400, "/api/v1/models/iris/evict")
        assert error.startswith("timeout: ")
        assert "number" in error


async def test_bodies_that_never_end_do_not_add_up(tmp_path: Path) -> None:
    """Many begin a body and send no more: what they sent is held for a while, up to a limit for all of them."""

    limits = Limits(held_bytes=4 * MIB, body_seconds=2)
    async with harness(tmp_path, limits=limits) as running:
        calls = [
            asyncio.create_task(running.begun("POST", APPLY, b"[" + b" " * 900_000))
            for _ in range(12)
        ]
        await asyncio.sleep(0.5)
        assert (await running.http.get("/healthz")).status_code == 200
        codes = await asyncio.gather(*calls)
        assert set(codes) == {408, 429}
        assert codes.count(408) == 4
        # What was held is given back.
        big = b'{"documents":[' + b" " * 3 * MIB + b"]}"

        async def taken() -> bool:
            return (await running.http.post(APPLY, content=big, headers=JSON)).status_code == 200

        await until("a large body is taken again", taken)
