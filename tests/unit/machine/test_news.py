"""The latest of each replica reaches the scheduler, once, whenever there is one."""

from __future__ import annotations

import asyncio

import grpc.aio
import pytest

from overbook.machine import news as module
from overbook.machine.news import News
from overbook.wire import scheduler_pb2 as pb


class Scheduler:
    def __init__(self) -> None:
        self.heard: list[tuple[str, str, bool]] = []
        self.away = False
        self.asked = asyncio.Event()
        self.expected = 0
        self.complete = asyncio.Event()

    async def tell(self, message: pb.ReplicaNews) -> None:
        self.asked.set()
        if self.away:
            metadata = grpc.aio.Metadata()
            raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, metadata, metadata)
        name = f"{message.replica.server}/{message.replica.replica}"
        self.heard.append((name, message.text, message.failed))
        if len(self.heard) >= self.expected:
            self.complete.set()

    async def hears(self, count: int) -> None:
        """Until it has heard so many."""
        self.expected = count
        if len(self.heard) < count:
            self.complete.clear()
            await asyncio.wait_for(self.complete.wait(), 5)


async def test_what_is_new_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAUSE", 0.0)
    monkeypatch.setattr(module, "_AGAIN", 0.0)
    scheduler, news = Scheduler(), News()
    task = asyncio.create_task(news.run(scheduler.tell))
    news.put("a", 0, "")
    news.put("a", 0, "downloading")
    news.put("a", 0, "compiling")
    news.put("b", 1, "no such version", failed=True)
    await scheduler.hears(2)
    assert scheduler.heard == [("a/0", "compiling", False), ("b/1", "no such version", True)]
    scheduler.away = True
    scheduler.asked.clear()
    news.put("a", 0, "compiling")
    news.put("a", 0, "")
    await scheduler.asked.wait()
    scheduler.away = False
    await scheduler.hears(3)
    assert scheduler.heard[-1] == ("a/0", "", False)
    news.all_again()
    await scheduler.hears(5)
    task.cancel()
    await asyncio.wait({task})
