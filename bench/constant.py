"""Requests at a constant rate, whatever becomes of those before: what a client sees who does not wait for others."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Final

import aiohttp

from bench.errors import BenchFailed
from overbook.client.http import JsonObject

_SECONDS: Final = 60.0


def constant(
    port: int, model: str, body: JsonObject, *, rate: float, until: Callable[[float], bool]
) -> list[float]:
    """Milliseconds of each request over REST, from when it was due until it was answered.

    ``rate``: per second. ``until``: whether the seconds since the beginning are enough.
    """
    return asyncio.run(_constant(port, model, body, rate, until))


async def _constant(
    port: int, model: str, body: JsonObject, rate: float, until: Callable[[float], bool]
) -> list[float]:
    taken: list[float] = []
    url, payload = f"http://127.0.0.1:{port}/v2/models/{model}/infer", json.dumps(body)
    headers = {"content-type": "application/json"}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(_SECONDS)) as session:

        async def ask(due: float) -> None:
            async with session.post(url, data=payload, headers=headers) as reply:
                answer = await reply.read()
                if reply.status != 200:
                    raise BenchFailed(f"model {model}: {reply.status} {answer[:200]!r}")
            taken.append((time.perf_counter() - due) * 1000)

        began = time.perf_counter()
        async with asyncio.TaskGroup() as asking:
            number = 0
            while not until(time.perf_counter() - began):
                due = began + number / rate
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                asking.create_task(ask(due))
                number += 1
    return taken
