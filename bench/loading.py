"""Loads as requests cause them: how long one takes, and one after the other without pause."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Final

from bench.errors import BenchFailed
from bench.instance import Instance
from overbook.client.http import JsonObject

_EVICT_SECONDS: Final = 30.0


def load_time(instance: Instance, model: str, body: JsonObject) -> float:
    """Milliseconds of the load that a request to a cold model causes, as the agent timed it."""
    count, seconds = instance.loads()
    instance.ask(model, body)
    after, total = instance.loads()
    if after == count:
        raise BenchFailed(f"model {model}: was resident already, expected it to be cold")
    return (total - seconds) * 1000


@contextmanager
def loading_without_pause(
    instance: Instance, models: Sequence[str], body: JsonObject
) -> Iterator[list[float]]:
    """Evict and ask for the models by turns for as long as the block runs, so that each request is a load.

    Yields the milliseconds that they took so far.
    """
    over, taken = threading.Event(), list[float]()

    def ask() -> None:
        while not over.is_set():
            model = models[len(taken) % len(models)]
            # They may both fit: what they take is known once it was measured.
            instance.control.act("evict", model, timeout=_EVICT_SECONDS)
            taken.append(load_time(instance, model, body))

    for model in models:
        instance.ask(model, body)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        try:
            yield taken
        finally:
            over.set()
        asking.result()
