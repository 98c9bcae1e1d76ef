"""Connections that do nothing, or too slowly, or are too many: the real uvicorn lets them go, and the others be."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from overbook.scheduler.web.limits import Limits
from tests.integration.scheduler_harness import Harness, harness, until

FEW = Limits(connections=6, waiting=2, idle_seconds=0.5)
HEALTH = b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n"


class Line:
    """One raw connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def says(self, text: bytes) -> None:
        self._writer.write(text)
        await self._writer.drain()

    async def head(self) -> bytes:
        return await self._reader.readuntil(b"\r\n\r\n")

    async def rest(self) -> bytes:
        """All that comes until the other side ends it, by a close or a reset."""
        found = b""
        try:
            while piece := await self._reader.read(65536):
                found += piece
        except ConnectionResetError:
            pass
        return found


@asynccontextmanager
async def line(running: Harness) -> AsyncIterator[Line]:
    host, _, port = running.scheduler.api_url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        yield Line(reader, writer)
    finally:
        writer.close()


@asynccontextmanager
async def lines(running: Harness, count: int) -> AsyncIterator[Sequence[Line]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(line(running)) for _ in range(count)]


def refusal(answer: bytes) -> tuple[int, str]:
    """Status and text of a refusal, which is one line of JSON."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head
    assert b"x-content-type-options: nosniff" in head
    error = json.loads(body)["error"]
    assert "\n" not in error
    return int(head.split()[1]), error


async def test_so_many_wait_for_events_and_no_more(tmp_path: Path) -> None:
    limits = Limits(waiting=2)
    async with harness(tmp_path, limits=limits) as running:
        waits = [
            asyncio.create_task(running.http.get("/api/v1/events", params={"wait": 30}))
            for _ in range(limits.waiting)
        ]
        await until("they wait", lambda: running.scheduler.running == limits.waiting)
        answer = await running.http.get("/api/v1/events", params={"wait": 1})
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert "2 others wait for events already" in answer.json()["error"]
        # Who does not wait is answered.
        assert (await running.http.get("/api/v1/events")).status_code == 200
        # Who leaves makes room for others.
        for each in waits:
            each.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        await until("they are gone", lambda: not running.scheduler.running)
        answer = await running.http.get("/api/v1/events", params={"wait": 0.1})
        assert answer.status_code == 200


async def test_one_connection_too_many_is_told_so(tmp_path: Path) -> None:
    limits = Limits(connections=6, idle_seconds=20)
    async with harness(tmp_path, limits=limits) as running, lines(running, 6) as held:
        for each in held:
            await each.says(HEALTH)
            assert (await each.head()).startswith(b"HTTP/1.1 200")
        async with line(running) as late:
            await late.says(HEALTH)
            answer = await late.rest()
        assert b"retry-after: 1" in answer
        status, error = refusal(answer)
        assert (status, error[:25]) == (429, "6 connections are open al")
        # Those who were there before are served.
        await held[0].says(HEALTH)
        assert (await held[0].rest()).count(b"200 OK") == 1


async def test_a_flood_of_connections_leaves_soon(tmp_path: Path) -> None:
    async with harness(tmp_path, limits=FEW) as running, lines(running, 200) as many:
        await asyncio.gather(*(each.rest() for each in many))

        async def served() -> bool:
            async with line(running) as late:
                await late.says(HEALTH)
                return (await late.head()).startswith(b"HTTP/1.1 200")

        await until("the next is served", served)


async def test_who_says_nothing_is_let_go(tmp_path: Path) -> None:
    async with harness(tmp_path, limits=FEW) as running, line(running) as silent:
        async with asyncio.timeout(5):
            assert await silent.rest() == b""


async def test_a_request_that_comes_a_byte_at_a_time_is_not_waited_for(tmp_path: Path) -> None:
    async with harness(tmp_path, limits=FEW) as running, line(running) as slow:

        async def drip() -> None:
            for byte in HEALTH * 100:
                await slow.says(bytes([byte]))
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        async with asyncio.timeout(5):
            status, error = refusal(await slow.rest())
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)
        assert (status, error) == (408, "no request came within 0.5 s; send it")


async def test_who_does_not_read_is_let_go(tmp_path: Path) -> None:
    """Answers wait in memory for those who ask on and on and read nothing."""
    async with harness(tmp_path, limits=FEW) as running:
        host, _, port = running.scheduler.api_url.removeprefix("http://").partition(":")
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(deaf, (host, int(port)))
            await loop.sock_sendall(
                deaf, b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n" * 300
            )

            last = 0.0

            def stuck() -> bool:
                """An answer has been under way for a while."""
                nonlocal last
                if not running.scheduler.running:
                    last = loop.time()
                return loop.time() - last > FEW.idle_seconds / 2

            await until("an answer cannot be sent", stuck)
            await until("nobody waits for it any more", lambda: not running.scheduler.running)


async def test_what_is_no_http_is_refused_in_a_line(tmp_path: Path) -> None:
    async with harness(tmp_path) as running, line(running) as odd:
        await odd.says(b"\x16\x03\x01 hello\r\n\r\n")
        status, error = refusal(await odd.rest())
        assert status == 400
        assert "expected HTTP/1.1" in error
