"""Waits until nothing of a model is in flight at the endpoint for gateways, nor on its way there.

`settled` is for a model that is leaving: nobody lets anything through to it any more, so afterwards the counts are set
right. `idle` only looks: the model is in use, and more may come at any moment.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Self

from overbook_mlserver.traffic import Traffic

# Rounds of the event loop after which everything was read that had come before the first: a new connection is accepted
# in one and read in the next.
_ROUNDS = 3


def idle_now(traffic: Traffic, model: bytes, passed: Mapping[bytes, int]) -> bool:
    """Whether it is so without a wait."""
    return not (traffic.present(model) or traffic.direct(model) or traffic.missing(model, passed))


def settled_now(traffic: Traffic, model: bytes, passed: Mapping[bytes, int]) -> bool:
    """Whether it is so without a wait, which spares a busy event loop a round."""
    if not idle_now(traffic, model, passed):
        return False
    traffic.settle(model, passed)
    return True


async def settled(
    traffic: Traffic, model: bytes, passed: Mapping[bytes, int], *, patience: float
) -> None:
    """Returns when it is so. The model must not be asked for any more, but for ``passed``: requests that were let
    through, by gateway. Those that have not arrived after ``patience`` seconds never will.
    """
    # Who came past the gateways has been sent, and perhaps not been read yet; of the others the number tells.
    rounds = _ROUNDS if traffic.direct(model) else 0
    with _Watch(traffic, model, patience) as watch:
        while True:
            if traffic.present(model):
                await watch.wait()
            elif traffic.missing(model, passed) and not watch.late:
                # The next to arrive is present until it leaves.
                await watch.wait()
            elif rounds:
                rounds -= 1
                await asyncio.sleep(0)
            else:
                break
    traffic.settle(model, passed)


async def idle(
    traffic: Traffic, model: bytes, passed: Mapping[bytes, int], *, patience: float
) -> bool:
    """Returns True as soon as all of ``passed`` have arrived and nothing is here, False after ``patience`` seconds."""
    rounds = _ROUNDS
    with _Watch(traffic, model, patience) as watch:
        while True:
            if traffic.present(model) or traffic.missing(model, passed):
                if watch.late:
                    return False
                await watch.wait()
                rounds = _ROUNDS
            elif rounds and traffic.direct(model):
                rounds -= 1
                await asyncio.sleep(0)
            else:
                return True


class _Watch:
    """Wakes whoever waits when the last request of the model has left, and once after ``patience`` seconds.

    ``late``: these are over. The loop's clock is not asked: its timers may come a moment before their time.
    """

    def __init__(self, traffic: Traffic, model: bytes, patience: float) -> None:
        self.late = False
        self._traffic = traffic
        self._model = model
        self._patience = patience
        self._changed = asyncio.Event()

    def __enter__(self) -> Self:
        self._traffic.watch(self._model, self._changed.set)
        self._timer = asyncio.get_running_loop().call_later(self._patience, self._ring)
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._traffic.unwatch(self._model, self._changed.set)

    def _ring(self) -> None:
        self.late = True
        self._changed.set()

    async def wait(self) -> None:
        """Until something has changed since this was called."""
        self._changed.clear()
        await self._changed.wait()
