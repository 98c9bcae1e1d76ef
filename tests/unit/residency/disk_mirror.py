"""What an onlooker must believe about room on the disk, for which models leave memory, and the laws of that.

Part of `mirror`, which knows models and requests; nothing of memory is judged here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from overbook.residency import events as ev
from overbook.residency.effects import Cause
from overbook.residency.events import ModelName
from overbook.residency.replica import Limits
from overbook.residency.states import State
from tests.unit.residency.seen import LEAVING, Seen


class DiskMirror:
    """``models``: what `mirror` believes of them. ``waiting_for``: requests for one. ``eligible``: whether one may
    leave for another's sake.
    """

    def __init__(
        self,
        models: Mapping[ModelName, Seen],
        limits: Limits,
        waiting_for: Callable[[ModelName], int],
        eligible: Callable[[ModelName, float], bool],
    ) -> None:
        self._models = models
        self._limits = limits
        self._waiting_for = waiting_for
        self._eligible = eligible
        self._wanted: ev.DiskRoomWanted | None = None

    def wants(self, event: ev.DiskRoomWanted) -> None:
        """It stands until the next one; nothing missing is the end of it."""
        self._wanted = event if event.missing else None

    def late(self, now: float) -> bool:
        """Has somebody waited too long?"""
        return self._wanted is not None and now >= self._wanted.since + self._limits.patience

    def holds_files(self, model: ModelName) -> bool:
        wanted = self._wanted
        return wanted is not None and any(model in each.models for each in wanted.files)

    def check_leaving(self, model: ModelName, now: float) -> None:
        assert self.holds_files(model), "nobody needs the room of its files"
        assert not self._models[model].pinned
        assert not self._models[model].verifying
        assert self._eligible(model, now) or self.late(now), "laws 3 and 9: in use"

    def check_victims(self, victims: Sequence[ModelName], now: float) -> None:
        """Law 2 on the disk: they suffice, unless somebody waited too long, and none is superfluous."""
        assert self._wanted is not None
        enough = self._files_come(now) >= self._wanted.missing
        assert enough or self.late(now), "law 2: drained in vain"
        for victim in victims:
            without = self._files_come(now, staying=victim)
            assert without < self._wanted.missing, f"law 2: {victim} need not leave for the disk"

    def _files_come(self, now: float, staying: ModelName | None = None) -> int:
        """Bytes of the disk that come back, if this model stayed."""
        assert self._wanted is not None
        return sum(
            each.size
            for each in self._wanted.files
            if all(name != staying and self._goes(name, now) for name in each.models)
        )

    def _goes(self, model: ModelName, now: float) -> bool:
        seen = self._models.get(model)
        if seen is None:
            return True
        if seen.state is State.COLD:
            return not self._waiting_for(model)
        in_use = seen.state is State.DRAINING and bool(seen.in_flight or seen.granted)
        if seen.state not in LEAVING or (in_use and not self.late(now)):
            return False
        return seen.cause is Cause.DISK or not self._waiting_for(model)
