"""Shows people who wait how far the fetches of models' files are: bars on a terminal, a line now and then elsewhere.

All goes to stderr: what a command prints is for programs too. Which words are said is decided in `fetching`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

import click

from overbook.cli.fetching import Fetch, Seen

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

# As many models have a bar of their own; of more, one bar is of all.
_BARS: Final = 5
# Seconds between two lines where there is no terminal.
_PACE: Final = 10.0


class Display(Protocol):
    """Of fetches that somebody waits for."""

    def show(self, seen: Seen, now: float) -> None:
        """As they are at this time; seconds of a clock that never goes back."""
        ...

    def hide(self) -> None:
        """Something else is about to be printed."""
        ...


@contextmanager
def display() -> Iterator[Display]:
    """What suits stderr. Nothing of it stays on a terminal when the block has ended."""
    shown: Display = _Bars() if sys.stderr.isatty() else _Lines()
    try:
        yield shown
    finally:
        shown.hide()


class _Lines:
    def __init__(self) -> None:
        self._next = 0.0
        self._known: frozenset[str] = frozenset()

    def show(self, seen: Seen, now: float) -> None:
        """What has not been named yet is named at once."""
        fetches = seen.under_way
        new = fetches.keys() - self._known
        if not fetches or (now < self._next and not (new and len(fetches) <= _BARS)):
            return
        self._known |= new
        self._next = now + _PACE
        for line in _lines(seen):
            click.echo(line, err=True)

    def hide(self) -> None:
        """Lines are in nobody's way."""


def _lines(seen: Seen) -> list[str]:
    if len(seen.under_way) > _BARS:
        return [seen.line]
    return [f"model/{name}: fetching {each.told}" for name, each in sorted(seen.under_way.items())]


class _Bars:
    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def show(self, seen: Seen, now: float) -> None:
        if not seen.under_way:
            self.hide()
            return
        if self._progress is None:
            self._progress = _progress()
            self._progress.start()
        bars = _bars(seen)
        for key in self._tasks.keys() - bars.keys():
            self._progress.remove_task(self._tasks.pop(key))
        for key, (title, fetch) in bars.items():
            if key not in self._tasks:
                self._tasks[key] = self._progress.add_task(title, total=1.0, told="", pace="")
            # An empty bar where nobody knows the whole: it is drawn too seldom to move.
            self._progress.update(
                self._tasks[key],
                description=title,
                completed=fetch.share or 0.0,
                told=fetch.bytes,
                pace=fetch.pace,
            )
        self._progress.refresh()

    def hide(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress, self._tasks = None, {}


def _bars(seen: Seen) -> dict[str, tuple[str, Fetch]]:
    """Titles and fetches, each by a name that stays when the title changes."""
    fetches = seen.under_way
    if len(fetches) <= _BARS:
        return {name: (f"model/{name}", each) for name, each in sorted(fetches.items())}
    name, last = seen.last
    # No model has a name with a space.
    return {
        " all": (f"{len(fetches)} models", seen.all),
        " last": (f"least far: model/{name}", last),
    }


def _progress() -> Progress:
    """Drawn when it is told to be, by nobody else: what is printed in between is not torn."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn
    from rich.table import Column

    return Progress(
        TextColumn(
            "{task.description}",
            markup=False,
            table_column=Column(no_wrap=True, overflow="ellipsis", max_width=26),
        ),
        BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=4)),
        TextColumn("{task.fields[told]}", markup=False, table_column=Column(no_wrap=True)),
        TextColumn("{task.fields[pace]}", markup=False, table_column=Column(no_wrap=True)),
        console=Console(stderr=True),
        transient=True,
        auto_refresh=False,
        redirect_stdout=False,
        redirect_stderr=False,
        expand=True,
    )
