"""How far fetches of models' files are, in words: of one replica, of a model, and of many models together. Pure.

Bytes and seconds, as the control API says them. Bars are drawn by `bars`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from overbook.cli.reading import at, condition, replicas, text
from overbook.cli.words import plural, size, span
from overbook.client.http import Json, JsonObject

# States in which it does not answer, so that people may want to know what it waits for.
_NOT_IN_MEMORY: Final = frozenset({"cold", "failed", "loading"})


@dataclass(frozen=True, slots=True)
class Fetch:
    """``done``, ``total``: bytes; ``rate``: bytes per second; ``left``: seconds. None where it is not known."""

    done: int
    total: int | None
    rate: float
    left: float | None

    @property
    def share(self) -> float | None:
        """From 0 to 1."""
        if self.total is None:
            return None
        return min(1.0, self.done / self.total) if self.total else 1.0

    @property
    def short(self) -> str:
        """`45%`, or where nobody knows of how much, `1.2GiB`."""
        return size(self.done) if self.share is None else f"{int(100 * self.share)}%"

    @property
    def bytes(self) -> str:
        """`512MiB of 1.2GiB`, or where nobody knows of how much, `512MiB so far`."""
        return (
            f"{size(self.done)} so far"
            if self.total is None
            else f"{size(self.done)} of {size(self.total)}"
        )

    @property
    def pace(self) -> str:
        """`118MiB/s, 6s left`; "" while nothing has come."""
        if self.rate < 1:
            return ""
        left = "" if self.left is None else f", {span(self.left)} left"
        return f"{size(int(self.rate))}/s{left}"

    @property
    def told(self) -> str:
        """`512MiB of 1.2GiB (42%), 118MiB/s, 6s left`."""
        share = "" if self.share is None else f" ({self.short})"
        return ", ".join(each for each in (f"{self.bytes}{share}", self.pace) if each)


def fetch_of(replica: JsonObject) -> Fetch | None:
    """Of a model's replica; None while none is under way."""
    said = replica.get("transfer")
    if not isinstance(said, dict):
        return None
    done, total = _figure(said.get("done")), _figure(said.get("total"))
    return Fetch(
        int(done or 0),
        None if total is None else int(total),
        _figure(said.get("bytesPerSecond")) or 0.0,
        _figure(said.get("secondsLeft")),
    )


def slowest(fetches: Sequence[Fetch]) -> Fetch | None:
    """The one that is least far; of those that nobody knows a total of, the one that has least."""
    return min(fetches, key=_progress, default=None)


def fetch_awaited(model: JsonObject) -> Fetch | None:
    """The fetch that a model waits for; of several replicas' the one that is least far."""
    parts = [fetch_of(part) for part in replicas(model)]
    return slowest([each for each in parts if each is not None])


def fetch_shown(parts: Sequence[JsonObject]) -> Fetch | None:
    """The fetch that keeps a model from memory; of several replicas' the one that is least far."""
    found = [fetch_of(part) for part in parts if _state(part) in _NOT_IN_MEMORY]
    return slowest([each for each in found if each is not None])


def state_of(replica: JsonObject) -> str:
    """Where a model is on a replica; while it waits for its files, `fetching 45%`."""
    state = _state(replica)
    fetch = fetch_of(replica)
    return f"fetching {fetch.short}" if fetch is not None and state in _NOT_IN_MEMORY else state


def _state(replica: JsonObject) -> str:
    return text(replica.get("state")) or "unknown"


def files_of(model: JsonObject, replica: JsonObject) -> str:
    """Where its files are, as far as a replica goes."""
    fetch = fetch_of(replica)
    if fetch is not None:
        return f"fetching {fetch.told}"
    if replica.get("filesOnDisk") is True:
        return "on disk"
    if condition(model).ready:
        return "not on disk; fetched again when a request needs them"
    return "not on disk yet"


def on_disk(parts: Sequence[JsonObject]) -> str:
    """`yes` or `no`, or where replicas differ `1 of 2`."""
    here = sum(part.get("filesOnDisk") is True for part in parts)
    if not parts:
        return "-"
    return "yes" if here == len(parts) else f"{here} of {len(parts)}" if here else "no"


def disk_of(replica: JsonObject) -> str:
    """What a server replica's disk holds: `1.2GiB of 10GiB`; a dash where nobody has said."""
    used, budget = (_figure(at(replica, "disk", name)) for name in ("used", "budget"))
    if used is None or budget is None:
        return "-"
    return f"{size(int(used))} of {size(int(budget))}"


def disk_told(replica: JsonObject) -> str:
    """`1.2GiB of 10GiB used, 300MiB of it cannot leave, 512MiB coming`; "" where nobody has said."""
    held = disk_of(replica)
    if held == "-":
        return ""
    firm, coming = (int(_figure(at(replica, "disk", name)) or 0) for name in ("firm", "coming"))
    stays = f"{size(firm)} of it cannot leave" if firm else "all of it can leave"
    return f"{held} used, {stays}" + (f", {size(coming)} coming" if coming else "")


class Seen:
    """What was seen of the fetches of models that somebody waits for; files that have arrived count in the sum."""

    def __init__(self) -> None:
        self._fetches: dict[str, Fetch] = {}
        self._sources: dict[str, str] = {}
        self.under_way: Mapping[str, Fetch] = {}

    def see(self, models: Mapping[str, JsonObject]) -> None:
        """The models as they are now; those that are left out have become ready."""
        fetches = {name: fetch_awaited(each) for name, each in models.items()}
        for name, fetch in fetches.items():
            if fetch is not None:
                self._fetches[name] = fetch
                self._sources[name] = _source(models[name])
        self.under_way = {name: each for name, each in fetches.items() if each is not None}
        for name in self._fetches.keys() - self.under_way.keys():
            known = self._fetches[name]
            whole = known.done if known.total is None else known.total
            self._fetches[name] = Fetch(whole, whole, 0.0, 0.0)

    @property
    def all(self) -> Fetch:
        """The sum. Models with files from one address share their fetch."""
        parts = {self._sources[name]: each for name, each in self._fetches.items()}.values()
        totals = [each.total for each in parts]
        total = sum(each for each in totals if each is not None) if None not in totals else None
        done, rate = sum(each.done for each in parts), sum(each.rate for each in parts)
        left = None if total is None or rate < 1 else max(0.0, (total - done) / rate)
        return Fetch(done, total, rate, left)

    @property
    def last(self) -> tuple[str, Fetch]:
        """Of those under way, which is one at least, the one that is least far."""
        return min(self.under_way.items(), key=lambda each: _progress(each[1]))

    @property
    def line(self) -> str:
        """`fetching files of 12 models: 3GiB of 9GiB (33%), 118MiB/s, 52s left; least far: big, 3%`."""
        name, last = self.last
        return (
            f"fetching files of {plural(len(self.under_way), 'model')}: {self.all.told}; "
            f"least far: {name}, {last.short}"
        )


def _progress(fetch: Fetch) -> tuple[float, int]:
    return fetch.share or 0.0, fetch.done


def _source(model: JsonObject) -> str:
    """Models with equal ones share their fetch."""
    return f"{text(at(model, 'spec', 'storageUri'))} {at(model, 'spec', 'artifactVersion')}"


def _figure(value: Json) -> float | None:
    return None if isinstance(value, bool) or not isinstance(value, int | float) else value
