"""Shows the steps before the traffic: a moving bar on a terminal, plain lines where there is none."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

Update = Callable[[str, float | None], None]

_LINE_EVERY_SECONDS: Final = 5.0


class Steps:
    """One step at a time, each ends with a line that stays."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def step(self, title: str) -> Iterator[Update]:
        """The caller says what it is doing and how far it is (a fraction, or None)."""
        begun = time.monotonic()
        shown = self._bar(title) if self._console.is_terminal else self._lines(title)
        with shown as update:
            yield update
        self.say(f"{title}: done in {time.monotonic() - begun:.1f} s")

    def say(self, text: str) -> None:
        """A line that stays."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def _bar(self, title: str) -> Iterator[Update]:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TimeElapsedColumn(),
            TextColumn("{task.fields[doing]}", markup=False, style="dim"),
        )
        with Progress(*columns, console=self._console, transient=True) as progress:
            task = progress.add_task(title, total=None, doing="")

            def update(doing: str, fraction: float | None) -> None:
                total = None if fraction is None else 1.0
                progress.update(task, doing=doing, completed=fraction or 0.0, total=total)

            yield update

    @contextmanager
    def _lines(self, title: str) -> Iterator[Update]:
        self.say(f"{title} ...")
        last = time.monotonic()

        def update(doing: str, fraction: float | None) -> None:
            nonlocal last
            if time.monotonic() - last >= _LINE_EVERY_SECONDS:
                last = time.monotonic()
                share = "" if fraction is None else f" ({100 * fraction:.0f} %)"
                self.say(f"  {doing}{share}")

        yield update
