"""One server to everybody, while its process is replaced by another."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from overbook.agent.servers.launched.replaceable import ReplaceableServer
from overbook.agent.servers.protocol import PreparedModel, Presence, ServerStartFailed
from tests.fakes.fake_server import FakeServer, Script


def made(folder: Path) -> tuple[ReplaceableServer, list[tuple[Path, FakeServer]]]:
    servers: list[tuple[Path, FakeServer]] = []

    def make(where: Path) -> FakeServer:
        server = FakeServer()
        server.scripts["a"] = Script()
        servers.append((where, server))
        return server

    return ReplaceableServer(make, folder), servers


async def test_the_spare_takes_over_and_the_old_one_is_gone(tmp_path: Path) -> None:
    server, servers = made(tmp_path)
    assert not await server.swap()
    await server.start(timeout=1)
    await server.load(PreparedModel("a", 1, tmp_path), timeout=1)
    await server.prepare(timeout=1)
    await server.prepare(timeout=1)
    assert await server.presence("a", timeout=1) is Presence.READY, "the old one serves"
    assert await server.swap()
    assert await server.presence("a", timeout=1) is Presence.ABSENT
    assert [where for where, _ in servers] == [tmp_path, tmp_path / "spare"]
    assert servers[0][1].pid is None
    assert server.pid == servers[1][1].pid
    await server.prepare(timeout=1)
    assert servers[2][0] == tmp_path, "their folders alternate"
    await server.close()
    assert all(each.pid is None for _, each in servers)


async def test_a_spare_that_does_not_start_leaves_all_as_it_was(tmp_path: Path) -> None:
    server, servers = made(tmp_path)
    await server.start(timeout=1)
    original = server._make

    def broken(where: Path) -> FakeServer:
        spare = FakeServer()
        spare.start_failure = "no memory"
        return spare

    server._make = broken
    with pytest.raises(ServerStartFailed, match="no memory"):
        await server.prepare(timeout=1)
    assert not await server.swap()
    assert server.pid == servers[0][1].pid
    server._make = original
    await server.prepare(timeout=1)
    assert await server.swap()
    await server.close()


async def test_what_the_new_one_loses_is_told_to_who_waited_before(tmp_path: Path) -> None:
    server, servers = made(tmp_path)
    await server.start(timeout=1)
    waiting = asyncio.create_task(server.wait_lost())
    await server.prepare(timeout=1)
    await server.swap()
    servers[1][1]._losses.put_nowait("a")
    assert await waiting == "a"
    await server.close()
