"""Loads as requests cause them: how long one takes, and one after the other without pause."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from bench.errors import BenchFailed
from bench.instance import Instance
from overbook.client.http import JsonObject


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
    """Ask for the models by turns for as long as the block runs; not all fit, so each request is a load.

    Yields the milliseconds that they took so far.
    """
    over, taken = threading.Event(), list[float]()

    def ask() -> None:
        while not over.is_set():
            taken.append(load_time(instance, models[len(taken) % len(models)], body))

    # The last one may be resident from before; then the first is not.
    instance.ask(models[-1], body)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        try:
            yield taken
        finally:
            over.set()
        asking.result()
