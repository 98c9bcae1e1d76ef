"""Sends the bytes of a whole connection of HTTP/2, and tells what became of its streams."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import hpack

from tests.integration.attacked import ANSWERED_WITHIN, Outcome
from tests.integration.http2_tricks import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    LAST_PING,
    PADDED,
    PING,
    PREFACE,
    PRIORITISED,
    RESET,
)

_HEAD = 9
# Seconds after which nothing more comes on a connection without a stream.
_QUIET = 1.0
# An answer's own.
_STATUS = b":status"


def frames(content: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Kind, flags, stream and body of each that is whole."""
    at = 0
    while at + _HEAD <= len(content):
        size = int.from_bytes(content[at : at + 3], "big")
        kind, flags, stream = struct.unpack_from(">BBI", content, at + 3)
        if at + _HEAD + size > len(content):
            return
        yield kind, flags, stream & 0x7FFFFFFF, content[at + _HEAD : at + _HEAD + size]
        at += _HEAD + size


@dataclass(slots=True)
class Answers:
    """What came back so far. ``ended``: the streams that are answered to the end, or reset."""

    statuses: list[int] = field(default_factory=list)
    ended: set[int] = field(default_factory=set)
    alive: bool = False
    _decoder: hpack.Decoder = field(default_factory=hpack.Decoder)
    _block: bytes = b""
    _left: bytearray = field(default_factory=bytearray)

    def take(self, piece: bytes) -> None:
        self._left += piece
        used = 0
        for kind, flags, stream, body in frames(bytes(self._left)):
            used += _HEAD + len(body)
            self._frame(kind, flags, stream, body)
        del self._left[:used]

    def _frame(self, kind: int, flags: int, stream: int, body: bytes) -> None:
        if kind in (HEADERS, CONTINUATION):
            assert not flags & (PADDED | PRIORITISED), "Envoy does neither"
            self._block += body
            if flags & END_HEADERS:
                said = self._decoder.decode(self._block, raw=True)
                self.statuses += [int(value) for name, value in said if name == _STATUS]
                self._block = b""
        if kind == RESET or (kind in (HEADERS, DATA) and flags & END_STREAM):
            self.ended.add(stream)
        self.alive |= kind == PING and bool(flags & ACK) and body == LAST_PING


async def sent(port: int, attack: bytes) -> Outcome:
    """What is said to these bytes. A connection that has no stream, or none any more, counts as closed."""
    asked = _asked(attack)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    said, closed = Answers(), False
    until = time.monotonic() + ANSWERED_WITHIN
    try:
        writer.write(attack)
        while not (said.alive and asked <= said.ended):
            # Its last frame may be one that nobody answers.
            pause = _QUIET if asked <= said.ended else until - time.monotonic()
            async with asyncio.timeout(pause):
                piece = await reader.read(65_536)
            if not piece:
                closed = True
                break
            said.take(piece)
    except TimeoutError:
        pass
    except ConnectionError:
        closed = True
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    return Outcome(tuple(said.statuses), closed or asked <= said.ended)


def _asked(attack: bytes) -> set[int]:
    """The streams that somebody waits for: begun in the order of their numbers, and not taken back."""
    found: set[int] = set()
    for kind, _, stream, _ in frames(attack[len(PREFACE) :]):
        if kind == HEADERS and stream % 2 and stream > max(found, default=0):
            found.add(stream)
        elif kind == RESET:
            found.discard(stream)
    return found


@dataclass(frozen=True, slots=True)
class Flood:
    """What became of one: how many bytes were taken, and whether the connection was closed before its time was over."""

    taken: int
    closed: bool


async def flooded(port: int, begin: bytes, more: bytes, seconds: float, *, reads: bool) -> Flood:
    """Begins a connection and repeats ``more`` on it for so long, or until it is closed."""
    # In a thread: whoever behaves is in this one, and shall not wait for the attackers.
    return await asyncio.to_thread(_flood, port, begin, more, seconds, reads)


def _flood(port: int, begin: bytes, more: bytes, seconds: float, reads: bool) -> Flood:
    until = time.monotonic() + seconds
    taken = 0
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.setblocking(False)
        left = memoryview(begin)
        try:
            while (rest := until - time.monotonic()) > 0:
                heard, free, _ = select.select([client] if reads else [], [client], [], rest)
                if heard and not client.recv(65_536):
                    return Flood(taken, closed=True)
                if free:
                    left = left or memoryview(more)
                    count = client.send(left)
                    taken += count
                    left = left[count:]
        except (ConnectionError, BlockingIOError):
            return Flood(taken, closed=True)
    return Flood(taken, closed=False)
