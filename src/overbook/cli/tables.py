"""Plain tables in the width there is. Not rich's: ten thousand rows take it seconds, this 30 ms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import click

from overbook.cli.terminal import UNLIMITED, folded

_GAP: Final = "  "
# What stands in a cell of which there is nothing to say.
_NOTHING: Final = frozenset({"", "-"})
_MIN_SHRUNK: Final = 15


@dataclass(frozen=True, slots=True)
class Column:
    """``shrinks``: may be cut, with an ellipsis, when the table is wider than the terminal; ``folds``: goes on in lines
    of its own instead, which the last column may. ``below``: of one that folds, it stands on lines of its own below the
    others where not all of them have room beside it. ``spare``: left out before a column that gives way has less than
    ``wanted`` characters, the highest first. ``colour``: of a cell by its text; "" for none.
    """

    title: str
    right: bool = False
    shrinks: bool = False
    folds: bool = False
    below: bool = False
    spare: int = 0
    wanted: int = _MIN_SHRUNK
    colour: Callable[[str], str] | None = None


class Layout:
    """The columns as wide as some rows need them; later rows may be wider. ``dropped``: titles that found no room."""

    def __init__(
        self,
        columns: Sequence[Column],
        rows: Sequence[Sequence[str]],
        *,
        width: int = UNLIMITED,
        colour: bool = False,
    ) -> None:
        self._columns = columns
        self._colour = colour
        self._width = width
        self._widths = [
            max(len(column.title), *(len(row[index]) for row in rows), 0)
            for index, column in enumerate(columns)
        ]
        self._shown = list(range(len(columns)))
        self.dropped: list[str] = []
        self._below: int | None = None
        if columns[-1].below and self._excess(shrunk=True) > 0:
            self._below = self._shown.pop()
        self._drop()
        self._shrink()
        # Into files and pipes: there may be thousands of rows, and nothing to cut, fold or paint.
        self._plain: list[tuple[int, bool]] | None = None
        if width >= UNLIMITED and not colour:
            rights = (column.right for column in columns)
            self._plain = list(zip(self._widths, rights, strict=True))

    @property
    def header(self) -> str:
        return "\n".join(self._lines([each.title for each in self._columns], header=True))

    def row(self, cells: Sequence[str]) -> str:
        if self._plain is not None:
            parts = (
                cell.rjust(width) if right else cell.ljust(width)
                for cell, (width, right) in zip(cells, self._plain, strict=True)
            )
            return _GAP.join(parts).rstrip()
        return "\n".join(self._lines(cells, header=False))

    def _excess(self, *, shrunk: bool) -> int:
        needed = len(_GAP) * (len(self._shown) - 1)
        for index in self._shown:
            wanted = self._least(index, self._columns[index].wanted)
            needed += wanted if shrunk else self._widths[index]
        return needed - self._width

    def _least(self, index: int, least: int = _MIN_SHRUNK) -> int:
        """The width that a column may be cut to; that which it has, where it may not be cut."""
        column = self._columns[index]
        if column.shrinks or column.folds:
            return min(max(least, len(column.title)), self._widths[index])
        return self._widths[index]

    def _drop(self) -> None:
        spare = sorted(
            (index for index in self._shown if self._columns[index].spare),
            key=lambda index: -self._columns[index].spare,
        )
        for index in spare:
            if self._excess(shrunk=True) > 0:
                self._shown.remove(index)
                self.dropped.append(self._columns[index].title)

    def _shrink(self) -> None:
        shrinking = sorted(
            (index for index in self._shown if self._least(index) < self._widths[index]),
            key=lambda index: -self._widths[index],
        )
        for index in shrinking:
            if (excess := self._excess(shrunk=False)) > 0:
                self._widths[index] -= min(excess, self._widths[index] - self._least(index))

    def _lines(self, cells: Sequence[str], *, header: bool) -> list[str]:
        parts: list[str] = []
        more: list[str] = []
        before = sum(self._widths[index] + len(_GAP) for index in self._shown[:-1])
        for index in self._shown:
            cell, column, width = cells[index], self._columns[index], self._widths[index]
            text = cell
            if len(cell) > width and column.folds and self._width < UNLIMITED:
                text, *rest = folded(cell, width, 0)
                more += [" " * before + each for each in rest]
            elif len(cell) > width and column.shrinks and self._width < UNLIMITED:
                text = f"{cell[: width - 1]}…"
            text = text.rjust(width) if column.right else text.ljust(width)
            parts.append(self._painted(text, cell, column, header=header))
        if self._below is not None and cells[self._below] not in _NOTHING:
            column = self._columns[self._below]
            for each in folded(f"{_GAP}{cells[self._below]}", self._width, len(_GAP)):
                more.append(self._painted(each, each, column, header=header))
        return [_GAP.join(parts).rstrip(), *more]

    def _painted(self, text: str, cell: str, column: Column, *, header: bool) -> str:
        if not self._colour:
            return text
        if header:
            return click.style(text, bold=True)
        colour = column.colour(cell) if column.colour is not None else ""
        return click.style(text, fg=colour) if colour else text


def table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str]],
    *,
    width: int = UNLIMITED,
    colour: bool = False,
) -> str:
    """The table's text without a final line break. Names stay whole; columns that shrink give way."""
    layout = Layout(columns, rows, width=width, colour=colour)
    return "\n".join((layout.header, *map(layout.row, rows)))
