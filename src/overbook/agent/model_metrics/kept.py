"""Pure: what each model has counted in all its lives, as far as it was seen.

A model that leaves memory begins at zero when it comes back. A sum over the series of all models would fall then, and
what was counted before would be gone from it. So the counters, histograms and summaries of a life that ended are added
to those of the next, and a cold model's stay at what they were. Gauges have no past: they are there while their model
is loaded. Bounded: `Room` says how.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from overbook.agent.model_metrics.reading import PARTED, STEP, is_cumulative, whole_of
from overbook.metrics.families import Family, Labels, Series

_Key: TypeAlias = tuple[str, str, Labels]  # family, name, labels


@dataclass(frozen=True, slots=True)
class Room:
    """``model``: series of one model; ``all``: of all together. Over that, who left longest ago is forgotten first."""

    model: int = 500
    all: int = 50_000


@dataclass(slots=True)
class _Model:
    described: dict[str, tuple[str, str]] = field(default_factory=dict)
    live: dict[_Key, float] = field(default_factory=dict)  # as the server shows it
    base: dict[_Key, float] = field(default_factory=dict)  # what of it was counted before
    gauges: dict[_Key, float] = field(default_factory=dict)
    past: dict[_Key, float] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return len(self.past.keys() | self.live.keys()) + len(self.gauges)

    def drop(self, family: str) -> None:
        for values in (self.live, self.base, self.past):
            for key in [each for each in values if each[0] == family]:
                del values[key]

    def end(self, keys: Iterable[_Key]) -> None:
        for key in list(keys):
            # Once more to the end: what was counted last is forgotten last.
            counted = self.live.pop(key) - self.base.pop(key, 0.0)
            self.past[key] = self.past.pop(key, 0.0) + counted


class Kept:
    """Of one server replica, by model; the server's own are those of the model ""."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._models: dict[str, _Model] = {}  # who was seen last is last

    @property
    def models(self) -> frozenset[str]:
        return frozenset(self._models)

    def begin(self, model: str, families: Mapping[str, Family]) -> None:
        """It was loaded. What it shows already is not its own: the server goes on with what it kept."""
        self.end(model)
        self.see(model, families)
        known = self._models[model]
        known.base = dict(known.live)

    def see(self, model: str, families: Mapping[str, Family]) -> None:
        """What a loaded model shows now."""
        known = self._models.pop(model, None) or _Model()
        self._models[model] = known
        live: dict[_Key, float] = {}
        known.gauges = {}
        for family in families.values():
            if known.described.get(family.name, (family.kind,))[0] != family.kind:
                known.drop(family.name)  # another content calls something else so
            known.described[family.name] = (family.kind, family.documentation)
            for name, labels, value in family.series:
                key = (family.name, name, labels)
                (live if is_cumulative(family, name) else known.gauges)[key] = value
        # What is less than it was, or is not there any more, began anew.
        anew = {
            _whole(key)
            for key, value in known.live.items()
            if key not in live or (live[key] < value and not _falls(key))
        }
        known.end(key for key in known.live if _whole(key) in anew)
        known.live = live
        self._shorten(known)

    def end(self, model: str) -> None:
        """It has left, with what it showed last."""
        known = self._models.get(model)
        if known is not None:
            known.end(known.live)
            known.gauges = {}

    def end_all(self) -> None:
        """The server's process is another, or none."""
        for model in self._models:
            self.end(model)

    def lose_sight(self) -> None:
        """The server does not answer: nobody knows what gauges are now."""
        for known in self._models.values():
            known.gauges = {}

    def forget(self, model: str) -> None:
        self._models.pop(model, None)

    def make_room(self) -> list[str]:
        """Forget those for which there is no room, and name them."""
        sizes = {model: known.size for model, known in self._models.items()}
        over = sum(sizes.values()) - self._room.all
        gone = []
        for model, size in sizes.items():
            if over <= 0:
                break
            if self._models[model].live or self._models[model].gauges:
                continue
            over -= size
            gone.append(model)
        for model in gone:
            del self._models[model]
        return gone

    def families(self, model: str) -> list[Family]:
        known = self._models.get(model)
        if known is None:
            return []
        values = dict(known.past)
        for key, value in known.live.items():
            values[key] = values.get(key, 0.0) + value - known.base.get(key, 0.0)
        values |= known.gauges
        found: dict[str, Family] = {}
        for (family, name, labels), value in values.items():
            if family not in found:
                found[family] = Family(family, *known.described[family])
            found[family].series.append(Series(name, labels, value))
        for each in found.values():
            if each.kind in PARTED:
                # Where past and present were put together buckets are in order again.
                each.series.sort(key=partial(_place, STEP[each.kind]))
        return list(found.values())

    def _shorten(self, known: _Model) -> None:
        """What is there now goes before what was."""
        over = known.size - self._room.model
        for key in [each for each in known.past if each not in known.live][: max(0, over)]:
            del known.past[key]
        used = {key[0] for key in (*known.past, *known.live, *known.gauges)}
        known.described = {name: of for name, of in known.described.items() if name in used}


def _falls(key: _Key) -> bool:
    """Sums of what may be negative fall without having begun anew."""
    return key[1] == f"{key[0]}_sum"


def _whole(key: _Key) -> tuple[str, Labels]:
    return key[0], whole_of(key[2])


def _place(step: str, series: Series) -> tuple[Labels, str, float]:
    return whole_of(series.labels), series.name, float(dict(series.labels).get(step, "0"))
