"""What goes on in this process that moves its memory, so that a measurement can say whether it meant anything.

Whoever begins something that allocates or frees (a request whose body comes in, a load, an unload) says so, and says
when it has ended. Knows nothing of what that is.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


class Activity:
    """``begun``: how many things began so far. ``under_way``: how many have not ended. ``bodies``: bytes of requests'
    bodies that are held for those that are being answered.
    """

    def __init__(self) -> None:
        self.begun = 0
        self.under_way = 0
        self.bodies = 0

    def begin(self) -> None:
        self.begun += 1
        self.under_way += 1

    def end(self) -> None:
        self.under_way -= 1

    @contextlib.contextmanager
    def going_on(self) -> Iterator[None]:
        """While the block runs."""
        self.begin()
        try:
            yield
        finally:
            self.end()


class Rest:
    """From now on nothing but one thing, which is ``known`` to go on, shall have happened."""

    def __init__(self, activity: Activity, known: int = 1) -> None:
        self._activity = activity
        self._known = known
        self._begun = activity.begun
        self._quiet = activity.under_way == known

    @property
    def lasted(self) -> bool:
        """Whether that is so."""
        now = self._activity
        return self._quiet and now.begun == self._begun and now.under_way == self._known
