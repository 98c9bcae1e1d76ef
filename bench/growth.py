"""How much the memory of a process grows while something happens, and how much its children take meanwhile."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import psutil

_LOOK_SECONDS: Final = 0.1
_CHILD: Final = "rclone"


@dataclass(slots=True)
class Growth:
    """Bytes, proportional set size. ``before`` and ``most``: of the process alone; ``children``: the most that those
    which bring files took together.
    """

    before: int
    most: int = 0
    children: int = 0

    @property
    def grown(self) -> int:
        return max(0, self.most - self.before)

    def look(self, process: psutil.Process) -> None:
        self.most = max(self.most, int(process.memory_full_info().pss))
        children = 0
        for each in process.children(recursive=True):
            # They come and go.
            with contextlib.suppress(psutil.Error):
                children += int(each.memory_full_info().pss) if each.name() == _CHILD else 0
        self.children = max(self.children, children)


@contextlib.contextmanager
def growing(pid: int) -> Iterator[Growth]:
    """Looks at it now and then for as long as the block runs."""
    process, over = psutil.Process(pid), threading.Event()
    growth = Growth(int(process.memory_full_info().pss))

    def watch() -> None:
        while not over.wait(_LOOK_SECONDS):
            growth.look(process)

    thread = threading.Thread(target=watch, name="growth")
    thread.start()
    try:
        yield growth
    finally:
        over.set()
        thread.join()
