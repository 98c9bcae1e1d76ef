"""What goes on in this process that moves its memory, so that a measurement can say whether it meant anything.

Whoever begins something that allocates or frees (a request whose body comes in, a load, an unload) says so, and says
when it has ended. Knows nothing of what that is.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator


class Activity:
    """``begun``: how many things began so far, and ``asked`` how many of them were requests for a model. ``under_way``:
    how many have not ended. ``bodies``: bytes of requests' bodies that are held for those that are being answered, and
    of answers that clients of streams have not taken.
    """

    def __init__(self) -> None:
        self.begun = 0
        self.under_way = 0
        self.bodies = 0
        self.asked: Counter[bytes] = Counter()

    def begin(self, model: bytes | None = None) -> None:
        self.begun += 1
        self.under_way += 1
        if model is not None:
            self.asked[model] += 1

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


class Held:
    """What a stream holds: its last request, which a model keeps until it has the next one, and answers that the client
    has not taken. It may never take them.
    """

    def __init__(self, activity: Activity) -> None:
        self._activity = activity
        self._going_on = False
        self._bytes = 0

    def ask(self, model: bytes, size: int) -> None:
        """The next request for the model has come."""
        self._hold(size - self._bytes)
        self._going_on = True
        self._activity.begin(model)

    def wait(self) -> None:
        """The model wants the next one."""
        if self._going_on:
            self._going_on = False
            self._activity.end()

    def answer(self, size: int) -> None:
        """The client is to take so much."""
        self._hold(size)

    def taken(self, size: int) -> None:
        """It has."""
        self._hold(-size)

    def end(self) -> None:
        """Nothing is held any more."""
        self._hold(-self._bytes)
        self.wait()

    def _hold(self, size: int) -> None:
        self._bytes += size
        self._activity.bodies += size


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


class Growth:
    """What models allocate at their first requests: by how much the process has grown since a model was loaded, if
    nothing but requests for this model went on. Sizes in bytes are handed in.
    """

    def __init__(self, activity: Activity) -> None:
        self._activity = activity
        self._marks: dict[bytes, tuple[int, int]] = {}

    def loaded(self, model: bytes, held: int, rest: Rest) -> None:
        """It has just been loaded, and the process holds so much."""
        self._activity.asked.pop(model, None)
        if rest.lasted:
            self._marks[model] = self._activity.begun, held

    def gone(self, model: bytes) -> None:
        self._marks.pop(model, None)
        self._activity.asked.pop(model, None)

    def alone(self, model: bytes) -> bool:
        """Whether it can be told at this moment."""
        mark, now = self._marks.get(model), self._activity
        return mark is not None and not now.under_way and now.begun - mark[0] == now.asked[model]

    def since(self, model: bytes, held: int) -> int | None:
        """Bytes more than then, now that it holds so much; None when that is not known to be the model's."""
        return held - self._marks[model][1] if self.alone(model) else None
