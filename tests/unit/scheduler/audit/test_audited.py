"""Each call that may change something is recorded, once, before it is answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from overbook.scheduler.audit.audited import Audited
from overbook.scheduler.audit.calls import Change, call_of
from overbook.scheduler.audit.entries import Entry


class FakeLog:
    """``order`` is what happened, in words."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.entries: list[Entry] = []

    async def record(self, entries: Sequence[Entry]) -> None:
        self.order.append("recorded")
        self.entries += entries

    def put(self, entries: Sequence[Entry]) -> None:
        self.order.append("put")
        self.entries += entries


def scope(method: str, path: str) -> dict[str, Any]:
    return {"type": "http", "method": method, "path": path, "client": ("10.0.0.9", 5000)}


async def never() -> Any:
    raise AssertionError("nothing is read here")


async def call(log: FakeLog, method: str, path: str, status: int | None) -> None:
    async def answering(scope: Any, receive: Any, send: Any) -> None:
        call_of(scope).changes.append(Change("Model", "iris", 1, 2))
        if status is None:
            raise ValueError("a bug")
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await send({"type": "http.response.body", "body": b"y"})

    async def send(message: Any) -> None:
        log.order.append(message["type"])

    audited = Audited(answering, log, lambda: 1.5)
    await audited(scope(method, path), never, send)


async def test_it_is_recorded_before_it_is_answered() -> None:
    log = FakeLog()
    await call(log, "POST", "/api/v1/models/iris/pin", 200)
    assert log.order == ["recorded", "http.response.start", *["http.response.body"] * 2]
    (entry,) = log.entries
    assert entry["time"] == "1970-01-01T00:00:01.500Z"
    assert (entry["address"], entry["call"]) == ("10.0.0.9", "POST /api/v1/models/iris/pin")
    assert (entry["verb"], entry["name"], entry["before"], entry["after"]) == ("pin", "iris", 1, 2)


async def test_what_nobody_could_be_answered_is_recorded_too() -> None:
    log = FakeLog()
    with pytest.raises(ValueError, match="a bug"):
        await call(log, "DELETE", "/api/v1/models/iris", None)
    assert log.order == ["put"]
    assert (log.entries[0]["status"], log.entries[0]["outcome"]) == (None, "unanswered")


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
async def test_reading_is_not_recorded(method: str) -> None:
    log = FakeLog()
    await call(log, method, "/api/v1/secrets", 200)
    assert "recorded" not in log.order
    assert not log.entries
