"""What signals mean to a process of Overbook's: the first asks it to stop, the second ends it at once.

What a stop waits for, and in which order, is said by those who stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Final, NoReturn

import psutil

# A stop that takes no longer needs no words.
_UNNOTICED: Final = 0.3


class Stop:
    """``asked`` is set by the first SIGINT or SIGTERM. Make it inside the event loop, once."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        loop = asyncio.get_running_loop()
        for signum in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(signum, self._signalled, signum)

    def _signalled(self, signum: signal.Signals) -> None:
        if self.asked.is_set():
            _end_at_once(signum)
        self.asked.set()


def waiting_words(grace: float) -> Callable[[int], None]:
    """What tells people, once, that so many requests are waited for, and for how long at most (seconds)."""
    begun = asyncio.get_running_loop().time()
    said = False

    def tell(running: int) -> None:
        nonlocal said
        if said or asyncio.get_running_loop().time() - begun < _UNNOTICED:
            return
        said = True
        requests = "1 request is" if running == 1 else f"{running} requests are"
        print(
            f"stopping: {requests} still being answered, for at most {grace:g} s; "
            "press Ctrl-C again to end at once",
            file=sys.stderr,
            flush=True,
        )

    return tell


def _end_at_once(signum: signal.Signals) -> NoReturn:
    """With all that this process started. Nothing is lost: what is on disk is written as one is killed anyway."""
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    os._exit(128 + signum)
