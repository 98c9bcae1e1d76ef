"""HTTP/2 against the real Envoy with our configuration: odd requests, broken connections, floods, and invented ones."""

from __future__ import annotations

import asyncio
import os
import random
import struct
import time
from collections import Counter

import pytest

from tests.integration.attacked import Attacked, attacked, each_of, envoy_bytes, faults
from tests.integration.fake_inference_server import SERVICE
from tests.integration.gateway_fakes import running_world
from tests.integration.http1_tricks import for_cold
from tests.integration.http2_sent import flooded, sent
from tests.integration.http2_tricks import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PREFACE,
    PRIORITY,
    RESET,
    SETTINGS,
    WINDOW,
    asked,
    broken,
    called,
    coded,
    connection,
    frame,
    invented,
    request,
    requests,
    unfinished,
)

_INVENTED = 600
_SOAK_SECONDS = float(os.environ.get("OVERBOOK_FUZZ_SECONDS", "600"))
_MIB = 1024 * 1024
# Seconds of each flood; they come one after the other.
_FLOOD_SECONDS = 0.3
# What Envoy may grow by under all of them.
_GROWTH = 200 * _MIB


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cold", "asked"),
    [(False, True), (True, True), (False, False)],
    ids=["hot", "cold", "where nobody is asked for a token"],
)
async def test_odd_requests(cold: bool, asked: bool) -> None:
    odd = {name: for_cold(attack) if cold else attack for name, attack in requests().items()}
    async with attacked(asked=asked) as scene:
        found = await each_of(odd.items(), lambda attack: sent(scene.port, attack))
        assert faults(found) == {}
        statuses = Counter(each for outcome in found.values() for each in outcome.statuses)
        assert statuses[200] > 50
        assert statuses[400] > 3


@pytest.mark.slow
async def test_broken_connections() -> None:
    async with attacked() as scene:
        found = await each_of(broken().items(), lambda attack: sent(scene.port, attack))
        assert faults(found) == {}


def _invented(seed: int) -> bytes:
    return for_cold(invented(seed)) if seed % 4 == 0 else invented(seed)


@pytest.mark.slow
async def test_invented_connections() -> None:
    async with attacked() as scene:
        attacks = ((f"seed {seed}", _invented(seed)) for seed in range(_INVENTED))
        found = await each_of(attacks, lambda attack: sent(scene.port, attack))
        assert faults(found) == {}


@pytest.mark.parametrize(
    "path", ["/grpc.health.v1.Health/\xff", "/inference.\xff", "ModelInfer?\xff"]
)
async def test_a_method_that_is_no_text_ends_nothing(path: str) -> None:
    """gRPC in Python would give up: that of the gateway, or of the inference server. Some of these need no token."""
    method = path.encode("latin-1")
    if not path.startswith("/"):
        method = f"/{SERVICE}/".encode() + method
    async with running_world({"iris": [0]}) as world:
        await world.make_hot("iris")
        attack = connection(called(b"\x0a\x04iris", path=method))
        assert (await sent(world.port, attack)).fault == ""
        assert (await world.grpc_infer("iris")).model_name == "iris"
        await world.raw_call(b"", method=f"/{SERVICE}/ServerLive", seconds=5)


_BEGIN = PREFACE + frame(SETTINGS)
_HEAD = coded(asked())
_OPEN = frame(HEADERS, 1, _HEAD, END_HEADERS)


def _each_stream(*frames: bytes, count: int = 200, first: int = 1) -> bytes:
    """The frames, on so many streams, one after the other. Their stream is written as 0."""
    return b"".join(
        each[:5] + struct.pack(">I", first + 2 * number) + each[9:]
        for number in range(count)
        for each in frames
    )


_REQUEST = (frame(HEADERS, 0, _HEAD, END_HEADERS | END_STREAM),)
# By what is sent again and again: what the connection begins with, and the rest.
_FLOODS = {
    "settings": (_BEGIN, frame(SETTINGS) * 500),
    "settings that change": (_BEGIN, frame(SETTINGS, body=struct.pack(">HI", 4, 1) * 50) * 20),
    "pings": (_BEGIN, frame(PING, body=bytes(8)) * 500),
    "empty data": (_BEGIN + _OPEN, frame(DATA, 1) * 500),
    "padding": (_BEGIN + _OPEN, frame(DATA, 1, b"\xff" + bytes(255), 8) * 50),
    "windows": (_BEGIN + _OPEN, frame(WINDOW, 1, struct.pack(">I", 1)) * 500),
    "windows for all": (_BEGIN, frame(WINDOW, 0, struct.pack(">I", 1)) * 500),
    "priorities": (_BEGIN + _OPEN, frame(PRIORITY, 1, struct.pack(">IB", 3, 9)) * 500),
    "priorities of idle streams": (_BEGIN, _each_stream(frame(PRIORITY, 0, bytes(5)), count=500)),
    "continuations": (
        _BEGIN + frame(HEADERS, 1, _HEAD),
        frame(CONTINUATION, 1, coded([(b"x", b"y" * 100)])) * 100,
    ),
    "empty continuations": (_BEGIN + frame(HEADERS, 1, _HEAD), frame(CONTINUATION, 1) * 500),
    "unknown frames": (_BEGIN, frame(77, 0, bytes(100)) * 200),
    "data of closed streams": (_BEGIN + request(asked()), frame(DATA, 1, b"x") * 500),
    "resets of idle streams": (_BEGIN, _each_stream(frame(RESET, 0, bytes(4)), count=500)),
}


@pytest.mark.slow
@pytest.mark.parametrize("reads", [True, False], ids=["that are heard", "that nobody hears"])
async def test_floods(reads: bool) -> None:
    async with attacked() as scene:
        before = envoy_bytes(scene.world)
        for begin, more in _FLOODS.values():
            await flooded(scene.port, begin, more, _FLOOD_SECONDS, reads=reads)
        assert envoy_bytes(scene.world) - before < _GROWTH


def _bomb() -> bytes:
    """A name and a value of 4 KB in the table of headers, and as many of them as fit in 16 KB: 60 MB."""
    value = b"v" * 4_000
    entry = b"\x40\x01x" + b"\x7f" + _more(len(value) - 127) + value
    return entry + b"\xbe" * 12_000


def _more(number: int) -> bytes:
    """The rest of a number in HPACK."""
    made = bytearray()
    while number >= 128:
        made.append(number % 128 + 128)
        number //= 128
    return bytes([*made, number])


@pytest.mark.slow
async def test_headers_that_grow() -> None:
    """HPACK bombs, as fast as they are taken. Each is refused and the connection stays: this costs Envoy a thread."""
    bomb = frame(HEADERS, 0, coded(asked()) + _bomb(), END_HEADERS | END_STREAM)
    async with attacked() as scene:
        before = envoy_bytes(scene.world)
        await flooded(scene.port, _BEGIN, _each_stream(bomb, count=100), 1, reads=True)
        await _others_are_served(scene)
        assert envoy_bytes(scene.world) - before < _GROWTH


@pytest.mark.slow
async def test_requests_that_are_taken_back() -> None:
    """Rapid resets, and those that Envoy is made to send itself (CVE-2023-44487, CVE-2025-8671)."""
    ways = {
        "by the client": (*_REQUEST, frame(RESET, 0, struct.pack(">I", 8))),
        "by a window of nothing": (*_REQUEST, frame(WINDOW, 0, bytes(4))),
        "by windows beyond all": (*_REQUEST, frame(WINDOW, 0, struct.pack(">I", 2**31 - 1))),
        "by data behind the end": (*_REQUEST, frame(DATA, 0, b"x")),
        "by a priority of itself": (frame(HEADERS, 0, struct.pack(">IB", 1, 0) + _HEAD, 37),),
    }
    async with attacked() as scene:
        for how, frames in ways.items():
            attack = b"".join(
                _each_stream(*frames, count=200, first=1 + 400 * turn) for turn in range(50)
            )
            flood = await flooded(scene.port, _BEGIN, attack, 10, reads=True)
            assert flood.closed, how
        await _others_are_served(scene)


@pytest.mark.slow
async def test_answers_that_are_taken_a_byte_at_a_time() -> None:
    """Windows of one byte, or of none: whoever does so holds what it asked for, and nobody else."""
    async with attacked() as scene:
        scene.server.size = 1_000_000
        before = envoy_bytes(scene.world)
        for window in (0, 1):
            small = PREFACE + frame(SETTINGS, body=struct.pack(">HI", 4, window))
            more = b"".join(
                frame(WINDOW, 1 + 2 * each, struct.pack(">I", 1)) for each in range(100)
            )
            async with asyncio.TaskGroup() as group:
                for _ in range(3):
                    begin = small + _each_stream(*_REQUEST, count=100)
                    group.create_task(flooded(scene.port, begin, more, 2, reads=True))
            await _others_are_served(scene)
        # Each answer is a megabyte, and 600 were asked for.
        assert envoy_bytes(scene.world) - before < 4 * _GROWTH


async def _others_are_served(scene: Attacked) -> None:
    """Until those who behave were served some times more."""
    served = scene.served
    async with asyncio.timeout(10):
        while scene.served < served + 3:  # noqa: ASYNC110  what is waited for is in another process
            await asyncio.sleep(0.02)


@pytest.mark.slow
async def test_calls_of_grpc_that_never_end() -> None:
    """Sixty that have begun and say nothing more, each with a part of a message."""
    async with attacked() as scene:
        attacks = ((f"number {number}", unfinished(number)) for number in range(60))
        found = await each_of(attacks, lambda attack: sent(scene.port, attack))
        assert faults(found) == {}


@pytest.mark.soak
async def test_invented_connections_for_long() -> None:
    first = random.SystemRandom().randrange(10**9)
    print(f"seeds from {first}")
    until = time.monotonic() + _SOAK_SECONDS
    async with attacked() as scene:
        while time.monotonic() < until:
            attacks = ((f"seed {seed}", _invented(seed)) for seed in range(first, first + 500))
            found = await each_of(attacks, lambda attack: sent(scene.port, attack))
            assert faults(found) == {}
            assert scene.smuggled() == []
            scene.server.arrived.clear()
            first += 500
