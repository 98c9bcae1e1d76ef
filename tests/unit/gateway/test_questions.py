from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from overbook.gateway.questions import Questions

_OK = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"


class Activation:
    """Answers each question when it is told to."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[tuple[str, Mapping[str, str], asyncio.Future[bytes]]] = (
            asyncio.Queue()
        )

    async def check(self, method: str, path: str, headers: Mapping[str, str]) -> bytes:
        assert method == "POST"
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.asked.put_nowait((path, headers, answer))
        return await answer


class Envoy:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    def ask(self, path: str, **headers: str) -> None:
        lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        self.writer.write("\r\n".join([*lines, "", ""]).encode())

    async def said(self) -> bytes:
        """Empty when it was hung up on."""
        return await self._reader.read(len(_OK))


@pytest.fixture
def activation() -> Activation:
    return Activation()


@pytest.fixture
async def socket(activation: Activation) -> AsyncIterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ob-q-") as folder:
        path = Path(folder) / "q.sock"
        async with asyncio.timeout(5), Questions([path], activation.check).open():
            yield path


async def connected(socket: Path) -> Envoy:
    return Envoy(*await asyncio.open_unix_connection(str(socket)))


async def test_one_question_after_the_other_on_one_connection(
    socket: Path, activation: Activation
) -> None:
    envoy = await connected(socket)
    for path in ("/v2/models/a/infer", "/v2/models/b/infer"):
        envoy.ask(path, host="activation", **{"x-overbook-model": "a", "content-type": ""})
        asked, headers, answer = await activation.asked.get()
        assert asked == path
        assert headers == {"host": "activation", "x-overbook-model": "a", "content-type": ""}
        answer.set_result(_OK)
        assert await envoy.said() == _OK
    envoy.writer.close()


async def test_a_question_may_come_in_pieces(socket: Path, activation: Activation) -> None:
    envoy = await connected(socket)
    envoy.writer.write(b"POST /x HTTP/1.1\r\nho")
    await envoy.writer.drain()
    await asyncio.sleep(0)
    envoy.writer.write(b"st: activation\r\n\r\n")
    assert (await activation.asked.get())[:2] == ("/x", {"host": "activation"})
    envoy.writer.close()


async def test_who_hangs_up_waits_no_longer(socket: Path, activation: Activation) -> None:
    gone, other = await connected(socket), await connected(socket)
    gone.ask("/gone")
    _, _, unwanted = await activation.asked.get()
    other.ask("/other")
    _, _, answer = await activation.asked.get()
    gone.writer.close()
    await asyncio.wait([unwanted])
    assert unwanted.cancelled()
    answer.set_result(_OK)
    assert await other.said() == _OK
    other.writer.close()


async def test_an_error_is_one_requests_error(
    socket: Path, activation: Activation, caplog: pytest.LogCaptureFixture
) -> None:
    unlucky, other = await connected(socket), await connected(socket)
    unlucky.ask("/unlucky")
    _, _, answer = await activation.asked.get()
    answer.set_exception(RuntimeError("by mistake"))
    assert await unlucky.said() == b""
    assert "by mistake" in caplog.text
    other.ask("/other")
    _, _, answer = await activation.asked.get()
    answer.set_result(_OK)
    assert await other.said() == _OK
    for envoy in (unlucky, other):
        envoy.writer.close()


@pytest.mark.parametrize(
    "sent",
    [
        b"\r\n\r\n",
        b"POST /x HTTP/1.1\r\nno colon\r\n\r\n",
        b"POST /x HTTP/1.1\r\nlong: " + b"x" * 70_000,
        b"POST /x HTTP/1.1\r\n\r\nPOST /y HTTP/1.1\r\n\r\n",
    ],
    ids=["nothing", "no header", "without an end", "two at once"],
)
async def test_what_envoy_would_not_ask_is_hung_up_on(socket: Path, sent: bytes) -> None:
    envoy = await connected(socket)
    envoy.writer.write(sent)
    assert await envoy.said() == b""
    envoy.writer.close()


async def test_waiting_questions_end_with_the_server(activation: Activation) -> None:
    with tempfile.TemporaryDirectory(prefix="ob-q-") as folder:
        path = Path(folder) / "q.sock"
        async with asyncio.timeout(5):
            async with Questions([path], activation.check).open():
                envoy = await connected(path)
                envoy.ask("/x")
                _, _, answer = await activation.asked.get()
            assert answer.cancelled()
            assert await envoy.said() == b""
        envoy.writer.close()
