"""The log: an answer waits until it is written, and goes on without it where it cannot be."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from overbook.metrics import REGISTRY
from overbook.scheduler.audit.entries import Entry
from overbook.scheduler.audit.files import AuditFiles, Page, Wanted
from overbook.scheduler.audit.log import AuditLog
from overbook.scheduler.errors import StoreError, TooMany


def change(name: str) -> Entry:
    return {"time": "2026-11-30T20:15:00.000Z", "name": name, "outcome": "done"}


every = Wanted()


def sample(name: str) -> float:
    return REGISTRY.get_sample_value(f"{name}_total") or 0.0


def log_in(folder: Path, told: list[str]) -> AuditLog:
    return AuditLog(folder, told.append)


async def test_what_was_recorded_can_be_read(tmp_path: Path) -> None:
    log = log_in(tmp_path, [])
    async with log.running():
        await asyncio.gather(*(log.record([change(str(each))]) for each in range(20)))
        found = (await log.after(0, every, 100, 0)).entries
        assert {each["name"] for each in found} == {str(each) for each in range(20)}
        assert len((await log.last(every, 3)).entries) == 3


async def test_what_nobody_waited_for_is_written_at_the_end(tmp_path: Path) -> None:
    log = log_in(tmp_path, [])
    async with log.running():
        log.put([change("last")])
    assert b'"last"' in (tmp_path / "changes.jsonl").read_bytes()


async def test_who_follows_hears_of_the_next_one(tmp_path: Path) -> None:
    log = log_in(tmp_path, [])
    async with log.running():
        await log.record([change("a")])
        following = asyncio.create_task(log.after(1, every, 10, 30))
        await asyncio.sleep(0)
        await log.record([change("b")])
        assert [each["name"] for each in (await following).entries] == ["b"]
        assert await log.after(2, every, 10, 0.01) == Page((), 2)


async def test_those_who_wait_are_bounded_and_let_go_at_a_stop(tmp_path: Path) -> None:
    log = log_in(tmp_path, [])
    async with log.running():
        all_of_them = [asyncio.create_task(log.after(0, every, 1, 30)) for _ in range(17)]
        refused, waiting = await asyncio.wait(all_of_them, return_when=asyncio.FIRST_COMPLETED)
        (one,) = refused
        assert isinstance(one.exception(), TooMany)
        log.stop_waiting()
        assert await asyncio.gather(*waiting) == [Page((), 0)] * 16


async def test_what_cannot_be_written_is_told_once_and_in_the_next_entry(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[str] = []
    (tmp_path / "audit").write_text("in the way")
    log = log_in(tmp_path / "audit", told)
    lost, kept = (sample(f"overbook_audit_{each}entries") for each in ("lost_", ""))
    async with log.running():
        for _ in range(3):
            await log.record([change("a"), change("b")])
        with pytest.raises(StoreError):
            await log.last(every, 1)
        assert sample("overbook_audit_lost_entries") == lost + 6
        assert len(told) == 1
        assert "cannot be written: File exists" in told[0]
        assert [each.levelname for each in caplog.records] == ["ERROR"]
        (tmp_path / "audit").unlink()
        await log.record([change("c")])
        await log.record([change("d")])
        found = (await log.last(every, 10)).entries
    assert [(each["name"], each["lost"]) for each in found] == [("c", 6), ("d", 0)]
    assert sample("overbook_audit_entries") == kept + 2
    assert "6 entries were lost" in caplog.text


async def test_a_disk_that_stands_still_holds_up_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goes_on = asyncio.Event()
    loop = asyncio.get_running_loop()
    written: list[tuple[list[Any], int]] = []

    def append(self: AuditFiles, made: list[Entry], lost: int) -> None:
        asyncio.run_coroutine_threadsafe(goes_on.wait(), loop).result()
        written.append(([each["name"] for each in made], lost))

    monkeypatch.setattr(AuditFiles, "append", append)
    monkeypatch.setattr("overbook.scheduler.audit.log.PATIENCE", 0.01)
    monkeypatch.setattr("overbook.scheduler.audit.log._MOST_WAITING", 2)
    told: list[str] = []
    log = log_in(tmp_path, told)
    async with log.running():
        await log.record([change("under way")])
        await log.record([change("waits"), change("waits")])
        assert not told
        await log.record([change("too much")])
        assert "takes too long" in told[0]
        goes_on.set()
    # What was lost while the first ones were being written is told by the next.
    assert written == [(["under way"], 0), (["waits", "waits"], 1)]
