"""Pure: the series in an inference server's page of metrics, by model, within bounds.

Theory of operation. Whatever a page holds was written by models, by mistake or to do harm, so each bound is of one
model, and what breaks it costs that model alone. Lines are cheap to look at and dear to parse (see `parsing`), so they
are counted, and the model in them is found, before those that are admitted are parsed. A histogram or summary that lost
a line is dropped with all its lines: half of one is wrong.

Models are told apart by the server's own account where it gives one (`Exposition.models`), else by the label ``model``.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Final

from overbook.agent.model_metrics.parsing import Parser, Sample
from overbook.agent.servers.protocol import Exposition
from overbook.metrics.families import OURS, Family, Labels, Series

# Of no model: the server's.
SERVER: Final = ""

FLOOD: Final = "flood"
LONG: Final = "long"
NAME: Final = "name"
CLASH: Final = "clash"
VALUE: Final = "value"
UNREADABLE: Final = "unreadable"
# What is told of each, once, for people.
TOLD: Final = {
    FLOOD: "more series than the {series} that are shown of one model",
    LONG: "a name, a label or a line is too long",
    NAME: "a name is not one for Prometheus, or is kept for a server's or Overbook's own metrics",
    CLASH: "a name is that of another metric, or the same series is there twice",
    VALUE: "a counter, histogram or summary is not a number",
    UNREADABLE: "its text cannot be read, or it is a collector of its own making",
    "hangs": "reading them does not end: a gauge of it is a function that hangs",
}

_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_MODEL: Final = re.compile(r'[{,]\s*model="((?:[^"\\]|\\.)*)"')
# The label in which the lines of one histogram or summary differ.
STEP: Final = {"histogram": "le", "summary": "quantile"}
PARTED: Final = frozenset(STEP)
_TRITON: Final = "nv_"
_MLSERVER: Final = "model_infer_request_"
# What replica and model are called on our page; what a model calls so itself is renamed, as Prometheus does.
_TAKEN: Final = frozenset(("model", "server", "replica"))


@dataclass(frozen=True, slots=True)
class Bounds:
    """``series`` and ``text``: lines of one model, and their characters. The rest: characters and labels of one line.

    What has no model may take as much as one of them.
    """

    series: int = 500
    text: int = 100_000
    name: int = 200
    label: int = 256
    labels: int = 20
    line: int = 1024
    documentation: int = 500


@dataclass(slots=True)
class Reading:
    """Families by model and name. ``dropped``: series that were left out, by model and reason."""

    families: dict[str, dict[str, Family]] = field(default_factory=dict)
    dropped: Counter[tuple[str, str]] = field(default_factory=Counter)


@dataclass(slots=True)
class _Block:
    """The lines of one family. ``name``: as its head has it; "" where it has none."""

    name: str
    head: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


# The model whose line it is; None: nobody's on this page.
_Owner = Callable[[_Block, str], str | None]


def read(
    exposition: Exposition,
    assigned: Callable[[str], bool],
    bounds: Bounds,
    parser: Parser | None = None,
) -> Reading:
    """``assigned``: whether a name is that of a model of this replica, loaded or not. ``parser``: that of the page
    before.
    """
    parser = parser or Parser()
    reading = Reading()
    for model, why in exposition.dropped.items():
        for reason, count in why.items():
            reading.dropped[model, reason] += count
    for model, text in exposition.models.items():
        _Reader(reading, bounds, parser, _only(model), _of_model).read(text)
    if exposition.shared:
        owner = _by_label(exposition, assigned)
        _Reader(reading, bounds, parser, owner, _of_server).read(exposition.shared)
    parser.turn()
    return reading


def _only(model: str) -> _Owner:
    return lambda _block, _line: model


def _by_label(exposition: Exposition, assigned: Callable[[str], bool]) -> _Owner:
    loaded, known = exposition.loaded, exposition.known

    def owner(block: _Block, line: str) -> str | None:
        found = _MODEL.search(line)
        if found is None:
            return SERVER
        name = found[1]
        if name in loaded:
            return name
        # One that comes or has gone; or a word that some model's own metric has for something else.
        theirs = block.name.startswith(_TRITON) or name in known or assigned(name)
        return None if theirs else SERVER

    return owner


def _of_model(name: str) -> bool:
    """Whether a model may call its own so, where the server tells whose it is."""
    return not name.startswith((OURS, _TRITON))


def _of_server(name: str) -> bool:
    return not name.startswith((OURS, _MLSERVER))


class _Reader:
    """Reads one text into ``reading``."""

    def __init__(
        self,
        reading: Reading,
        bounds: Bounds,
        parser: Parser,
        owner: _Owner,
        may: Callable[[str], bool],
    ) -> None:
        self._parser = parser
        self._reading = reading
        self._bounds = bounds
        self._owner = owner
        self._may = may
        self._lines: Counter[str] = Counter()
        self._length: Counter[str] = Counter()
        self._seen: set[str] = set()

    def read(self, text: bytes) -> None:
        blocks = list(_blocks(text.decode("utf-8", "replace")))
        # The server's own first: nothing that models add pushes them out.
        for block in sorted(blocks, key=lambda each: not each.name.startswith(_TRITON)):
            self._admit(block)

    def _admit(self, block: _Block) -> None:
        admitted: dict[str, list[str]] = {}
        cut: set[str] = set()
        for line in block.lines:
            owner = self._owner(block, line)
            if owner is None:
                continue
            if reason := self._refusal(owner, line):
                self._drop(owner, reason)
                cut.add(owner)
            else:
                admitted.setdefault(owner, []).append(line)
        # A second family of one name is somebody else's.
        again = bool(block.name) and block.name in self._seen
        self._seen.add(block.name)
        lines = [line for of_owner in admitted.values() for line in of_owner]
        samples = iter(() if again else self._parser.parse(block.name, block.head, lines))
        for owner, of_owner in admitted.items():
            if again:
                self._drop(owner, CLASH, len(of_owner))
            else:
                found = list(islice(samples, len(of_owner)))
                self._sort(owner, found, cut=owner in cut)

    def _refusal(self, owner: str, line: str) -> str:
        """Why the line is not parsed; "" where it is, and then it counts."""
        bounds = self._bounds
        if len(line) > bounds.line or line.count('="') > bounds.labels:
            return LONG
        if self._lines[owner] >= bounds.series or self._length[owner] >= bounds.text:
            return FLOOD
        self._lines[owner] += 1
        self._length[owner] += len(line)
        return ""

    def _sort(self, owner: str, samples: list[Sample | None], *, cut: bool) -> None:
        """The families of one owner: one, unless lines stand below the heads of another."""
        families: dict[str, Family] = {}
        for each in samples:
            if each is None:
                # Of what else its family has nobody knows whether it is whole.
                self._drop(owner, UNREADABLE, len(samples))
                return
            family = families.get(each.family)
            if family is None:
                documentation = each.documentation[: self._bounds.documentation]
                family = families[each.family] = Family(each.family, each.kind, documentation)
            family.series.append(Series(each.name, each.labels, each.value))
        for family in families.values():
            if family.name.endswith("_created"):
                continue  # when a counter began: of no use where lives are added up
            reason = self._refusal_of(owner, family)
            if reason:
                self._drop(owner, reason, len(family.series))
                continue
            family.series = self._good(owner, family, cut=cut)
            if family.series:
                self._reading.families.setdefault(owner, {})[family.name] = family

    def _refusal_of(self, owner: str, family: Family) -> str:
        if len(family.name) > self._bounds.name:
            return LONG
        if _NAME.fullmatch(family.name) is None or not self._may(family.name):
            return NAME
        return CLASH if family.name in self._reading.families.get(owner, ()) else ""

    def _good(self, owner: str, family: Family, *, cut: bool) -> list[Series]:
        """Whatever is wrong with one line of a histogram or summary is wrong with all of it."""
        bad: dict[Labels, str] = {}
        kept: dict[tuple[str, Labels], tuple[Labels, float]] = {}
        for name, labels, value in family.series:
            labels = _relabelled(labels, owner)
            whole = whole_of(labels) if family.kind in PARTED else labels
            reason = self._wrong(family, name, labels, value)
            if (name, labels) in kept:
                reason = CLASH
            if reason:
                bad.setdefault(whole, reason)
                self._drop(owner, reason)
                continue
            kept[name, labels] = whole, value
        if cut and family.kind in PARTED and kept:
            # Nobody knows what its last one lost.
            bad.setdefault(list(kept.values())[-1][0], FLOOD)
        good: list[Series] = []
        for (name, labels), (whole, value) in kept.items():
            if whole in bad and family.kind in PARTED:
                self._drop(owner, bad[whole])
            else:
                good.append(Series(name, labels, value))
        return good

    def _wrong(self, family: Family, name: str, labels: Labels, value: float) -> str:
        if len(labels) > self._bounds.labels or any(
            len(key) > self._bounds.label or len(text) > self._bounds.label for key, text in labels
        ):
            return LONG
        if any(_LABEL.fullmatch(key) is None for key, _ in labels):
            return NAME
        if is_cumulative(family, name) and (
            not math.isfinite(value) or (value < 0 and not name.endswith("_sum"))
        ):
            return VALUE
        if family.kind in PARTED and not _is_number(dict(labels).get(STEP[family.kind], "0")):
            return VALUE
        return ""

    def _drop(self, owner: str, reason: str, count: int = 1) -> None:
        self._reading.dropped[owner, reason] += count


def is_cumulative(family: Family, name: str) -> bool:
    """Whether the series of this name only grows while its model lives (a sum may fall, and still adds up)."""
    if family.kind == "summary":
        return name != family.name
    return family.kind in ("counter", "histogram")


def _blocks(text: str) -> Iterator[_Block]:
    block = _Block("")
    for line in text.split("\n"):
        line = line.strip()
        if not line:
            continue
        if not line.startswith("#"):
            block.lines.append(line)
            continue
        words = line.split(None, 3)
        if len(words) < 3 or words[1] not in ("HELP", "TYPE"):
            continue
        if words[2] != block.name:
            yield block
            block = _Block(words[2])
        block.head.append(line)
    yield block


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _relabelled(labels: Labels, owner: str) -> Labels:
    """As on our page: who it is of is said by labels of ours, and what is said empty is not said."""
    made: dict[str, str] = {}
    for key, value in labels:
        if not value or (key in ("model", "model_name") and value == owner and owner):
            continue
        if key == "model_version" and owner:
            key = "version"
        made[f"exported_{key}" if key in _TAKEN else key] = value
    return tuple(sorted(made.items()))


def whole_of(labels: Labels) -> Labels:
    """What all lines of one histogram or summary have in common."""
    return tuple(each for each in labels if each[0] not in ("le", "quantile"))
