"""Which change of the process belongs to which load or unload. Pure: sizes are handed in.

A window is open from before an operation until after it. What others did meanwhile makes it unclean, but for those
that began and ended within it and whose own size is known: that much is taken off. An unclean window says nothing;
nothing is apportioned by guess, because `turns` makes sure that every content is loaded alone once.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Window:
    """One operation. ``known``: what others changed meanwhile; ``within``: others under way that began inside."""

    before: int
    clean: bool
    known: int = 0
    within: set[Window] = field(default_factory=set)

    def change(self, after: int) -> int | None:
        """Bytes that this operation added (negative: gave back); None when that cannot be told."""
        return after - self.before - self.known if self.clean and not self.within else None


class Attribution:
    """The windows that are open. ``serial`` counts the operations that began."""

    def __init__(self) -> None:
        self._open: set[Window] = set()
        self.serial = 0

    @property
    def quiet(self) -> bool:
        return not self._open

    def open(self, before: int) -> Window:
        """An operation begins; ``before``: the size now."""
        self.serial += 1
        window = Window(before, clean=not self._open)
        for other in self._open:
            other.within.add(window)
        self._open.add(window)
        return window

    def close(self, window: Window, known: int | None) -> None:
        """It ended. ``known``: the change that it makes by earlier measurement, None when there is none."""
        self._open.discard(window)
        for other in self._open:
            if window in other.within:
                other.within.discard(window)
                other.known += known or 0
                other.clean = other.clean and known is not None

    def abandon(self) -> None:
        """The process is gone."""
        for window in self._open:
            window.clean = False
        self._open.clear()
