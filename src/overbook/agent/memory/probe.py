"""The probe of a running inference server: its tree is walked now and then, and looked at quickly in between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from overbook.agent.memory.readings import Reading, quick_size, read_tree, take_peak


class TreeProbe:
    """A `Probe` of whatever process ``root`` names at the moment (None: none runs, or it is on another machine)."""

    def __init__(self, root: Callable[[], int | None]) -> None:
        self._root = root
        self._members: tuple[int, ...] = ()
        self._of: int | None = None

    @property
    def members(self) -> tuple[int, ...]:
        """The processes, as they were when the tree was walked last."""
        return self._members

    async def read(self) -> Reading | None:
        root = self._root()
        if root is None:
            return None
        found = await asyncio.to_thread(read_tree, root)
        if found is None:
            return None
        reading, self._members = found
        self._of = root
        return reading

    def quick(self) -> int | None:
        root = self._root()
        if root is None:
            return None
        if root != self._of:
            self._members, self._of = (root,), root
        sizes = [quick_size(pid) for pid in self._members]
        if sizes[0] is None:
            return None
        return sum(size for size in sizes if size is not None)

    def peak(self) -> int | None:
        root = self._root()
        return None if root is None else take_peak(root)
