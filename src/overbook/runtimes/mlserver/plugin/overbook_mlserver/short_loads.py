"""Which loads are so short that the event loop does them itself.

A load in a thread shares the interpreter with the loop, and that costs both of them: the loop gives it up in each of
the short stretches of native code that a prediction consists of, and mostly takes it back before the thread has
woken up. Beside forests that predict without pause, loads of 5 ms took 40, and predictions of 1.8 ms took 3.
A prediction of some milliseconds runs on the loop as well, so a load that takes no longer than
a few of them may too. How long it takes is what it took the last time, in processor time, since the clock on the wall
also counts who else was at work.

Only models without code of their own: what that does when it loads, nobody knows.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlserver.settings import ModelSettings

# Processor time of a load for which requests to other models may wait: so much, or so many predictions'.
_SHORT_SECONDS = 0.01
_SHORT_PREDICTIONS = 3.0
# Artifacts remembered. With one more all are forgotten, and timed anew.
_REMEMBERED = 50_000


class ShortLoads:
    """What each artifact's last load took. ``prediction``: seconds that one takes of late, on the loop."""

    def __init__(self, prediction: Callable[[], float]) -> None:
        self._prediction = prediction
        # Numbers in an array are no objects: one that outlives its model would keep what lies around it.
        self._seconds = array("d")
        self._places: dict[tuple[str, str], int] = {}

    def expected(self, settings: ModelSettings) -> bool:
        """Whether loading this is known to be short."""
        place = self._places.get(_key(settings))
        short = max(_SHORT_SECONDS, _SHORT_PREDICTIONS * self._prediction())
        return place is not None and self._seconds[place] < short

    async def timed(self, settings: ModelSettings, load: Callable[[], Awaitable[bool]]) -> bool:
        """Do the load, and remember what it took of the thread that it runs in."""
        began = time.thread_time()
        ready = await load()
        self._remember(_key(settings), time.thread_time() - began)
        return ready

    def _remember(self, key: tuple[str, str], took: float) -> None:
        place = self._places.get(key)
        if place is not None:
            self._seconds[place] = took
            return
        if len(self._places) >= _REMEMBERED:
            self._places.clear()
            del self._seconds[:]
        self._places[key] = len(self._seconds)
        self._seconds.append(took)


def _key(settings: ModelSettings) -> tuple[str, str]:
    # Where it lies is a name of its content: another version of it has another path.
    return settings.implementation_, str(settings.parameters.uri)
