"""Waits until nothing of a model is in flight at the endpoint for gateways, nor on its way there."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from overbook_mlserver.traffic import Traffic

# Rounds of the event loop after which everything was read that had come before the first: a new connection is accepted
# in one and read in the next.
_ROUNDS = 3


def settled_now(traffic: Traffic, model: bytes, passed: Mapping[bytes, int]) -> bool:
    """Whether it is so without a wait, which spares a busy event loop a round."""
    if traffic.present(model) or traffic.direct(model) or traffic.missing(model, passed):
        return False
    traffic.settle(model, passed)
    return True


async def settled(
    traffic: Traffic, model: bytes, passed: Mapping[bytes, int], *, patience: float
) -> None:
    """Returns when it is so. The model must not be asked for any more, but for ``passed``: requests that were let
    through, by gateway. Those that have not arrived after ``patience`` seconds never will.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + patience
    changed = asyncio.Event()
    # Who came past the gateways has been sent, and perhaps not been read yet; of the others the number tells.
    rounds = _ROUNDS if traffic.direct(model) else 0
    traffic.watch(model, changed.set)
    late = loop.call_at(deadline, changed.set)
    try:
        while True:
            changed.clear()
            if traffic.present(model):
                await changed.wait()
            elif traffic.missing(model, passed) and loop.time() < deadline:
                # The next to arrive is present until it leaves.
                await changed.wait()
            elif rounds:
                rounds -= 1
                await asyncio.sleep(0)
            else:
                break
    finally:
        late.cancel()
        traffic.unwatch(model, changed.set)
    traffic.settle(model, passed)
