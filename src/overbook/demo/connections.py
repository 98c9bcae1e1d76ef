"""The demo's clients on the wire: a plain HTTP/1.1 connection and a gRPC channel, both carrying bytes.

They are lighter than a general client because they share two cores with what they measure. What to
send and whether the answer is right is not decided here.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final, Protocol

import grpc

from overbook.demo.cases import Case, check_grpc, check_rest

_INFER: Final = "/inference.GRPCInferenceService/ModelInfer"
_HEAD_LIMIT: Final = 64 * 1024
_CLOSE_SECONDS: Final = 1.0
_CHANNEL_OPTIONS: Final = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    # What fails shall be seen as failed.
    ("grpc.enable_retries", 0),
)


class RequestFailed(Exception):
    """No successful answer: the message has the status and the server's words."""


class Connection(Protocol):
    """One client's way to the data plane. One request at a time."""

    @property
    def over_grpc(self) -> bool: ...

    async def ask(self, case: Case, *, timeout: float) -> None:
        """Send a case and check its answer. Raises RequestFailed, WrongAnswer."""
        ...

    async def close(self) -> None: ...


class RestConnection:
    """One kept-alive connection; opened at the first request and again after an error."""

    over_grpc = False

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, case: Case, *, timeout: float) -> None:
        try:
            async with asyncio.timeout(timeout):
                status, body = await self._exchange(case.rest)
        except TimeoutError:
            await self.close()
            raise RequestFailed(f"REST: no answer within {timeout:g} s") from None
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            await self.close()
            raise RequestFailed(f"REST: connection lost ({error})") from None
        except ValueError as error:
            await self.close()
            raise RequestFailed(f"REST: not an HTTP answer ({error})") from None
        if status != 200:
            raise RequestFailed(f"REST {status}: {body[:300].decode(errors='replace')}")
        check_rest(case, body)

    async def close(self) -> None:
        streams, self._streams = self._streams, None
        if streams is not None:
            streams[1].close()
            with contextlib.suppress(OSError, TimeoutError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await streams[1].wait_closed()

    async def _exchange(self, request: bytes) -> tuple[int, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._host, self._port, limit=_HEAD_LIMIT)
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        status = int(head[0].split(" ", 2)[1])
        fields = {
            key.strip().lower(): value.strip()
            for key, _, value in (line.partition(":") for line in head[1:])
        }
        if fields.get("transfer-encoding", "").lower() == "chunked":
            body = await _chunks(reader)
        else:
            body = await reader.readexactly(int(fields.get("content-length", "0")))
        if fields.get("connection", "").lower() == "close":
            await self.close()
        return status, body


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while size := int((await reader.readline()).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    while (await reader.readline()).strip():
        # Trailers mean nothing here, but they must be read.
        continue
    return bytes(body)


class GrpcConnection:
    """One channel with one connection of its own."""

    over_grpc = True

    def __init__(self, host: str, port: int) -> None:
        self._channel = grpc.aio.insecure_channel(f"{host}:{port}", options=_CHANNEL_OPTIONS)
        self._infer: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(
            _INFER
        )

    async def ask(self, case: Case, *, timeout: float) -> None:
        try:
            answer = await self._infer(case.grpc, timeout=timeout)
        except grpc.aio.AioRpcError as error:
            raise RequestFailed(f"gRPC {error.code().name}: {error.details()}") from None
        check_grpc(case, answer)

    async def close(self) -> None:
        await self._channel.close()
