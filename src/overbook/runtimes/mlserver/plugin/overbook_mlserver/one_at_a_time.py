"""Lets predictions in one after the other, one for each round of the event loop.

A prediction holds the loop up for as long as it computes. When many come at once, the loop would begin all of them in
one round, and whatever else is to be done (reading a connection, each of the steps of a load or an unload, a health
check) would wait for all of them, in every round anew: 50 ms for the unload of a small model beside ten clients of a
forest. With one for each round it waits for one. Those that wait on something themselves do not hold up the next.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections import deque
from collections.abc import Callable

# Predictions that say what one takes.
_RECENT = 16


class OneAtATime:
    """Of one event loop. First come, first served."""

    def __init__(self) -> None:
        self._line: deque[Callable[[], object]] = deque()
        self._turning = False
        self._began = 0.0
        # In a ring: a number in an array is no object that would keep what lies around it.
        self._took = array("d", [0.0] * _RECENT)
        self._counted = 0

    def enter(self, begin: Callable[[], object]) -> None:
        """Call ``begin``, which makes the task, now or when those in front have begun."""
        if self._turning:
            self._line.append(begin)
        else:
            self._turning = True
            self._let_in(begin)

    def typical(self) -> float:
        """Seconds of processor time for which one of late held the loop up, on average; 0 before the first."""
        return sum(self._took) / min(self._counted, _RECENT) if self._counted else 0.0

    def _let_in(self, begin: Callable[[], object]) -> None:
        loop = asyncio.get_running_loop()
        # Right before and right behind the first step of the task that is made between them.
        loop.call_soon(self._start_clock)
        begin()
        loop.call_soon(self._turn)

    def _start_clock(self) -> None:
        self._began = time.thread_time()

    def _turn(self) -> None:
        self._took[self._counted % _RECENT] = time.thread_time() - self._began
        self._counted += 1
        if self._line:
            self._let_in(self._line.popleft())
        else:
            self._turning = False
