"""Progress of long work for people at a terminal: a bar there, plain lines elsewhere."""

from __future__ import annotations

import sys
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

_COMPLETE: Final = 1.0


class StderrProgress:
    """Callable with a message and the fraction done (None: unknown); closes itself at 1.0."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._last = ""

    def __call__(self, message: str, fraction: float | None) -> None:
        if not sys.stderr.isatty():
            if message != self._last:
                print(message, file=sys.stderr, flush=True)
                self._last = message
            return
        if self._bar is None or self._task is None:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task(message, total=_COMPLETE)
            self._bar.start()
        self._bar.update(self._task, description=message[:60], completed=fraction)
        if fraction is not None and fraction >= _COMPLETE:
            self._bar.stop()
            self._bar = self._task = None
