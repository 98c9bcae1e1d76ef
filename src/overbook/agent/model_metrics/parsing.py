"""Pure: the lines of one family as samples, by prometheus_client's parser, which remembers lines that it has seen.

A page is the same from look to look but for its values, and the parser is thorough: some 30 microseconds for each line,
of which a server with some hundreds of models has thousands. What a line says before its value is therefore kept until
a look in which it is not there any more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple, TypeAlias

from prometheus_client.parser import text_string_to_metric_families

from overbook.metrics.families import Labels

_KINDS: Final = frozenset(("counter", "gauge", "histogram", "summary"))


class Sample(NamedTuple):
    """A line, with what the heads say of its family; `Series` has the rest."""

    family: str
    kind: str
    documentation: str
    name: str
    labels: Labels
    value: float


# Of lines without a timestamp, by what stands before their value; by the heads above them.
_Seen: TypeAlias = dict[str, dict[str, Sample]]


class Parser:
    """Of one server's pages. `turn` after each of them."""

    def __init__(self) -> None:
        self._last: _Seen = {}
        self._seen: _Seen = {}

    def turn(self) -> None:
        """Another page begins: what was not on this one is forgotten."""
        self._last, self._seen = self._seen, {}

    def parse(self, name: str, heads: Sequence[str], lines: Sequence[str]) -> list[Sample | None]:
        """A sample for each line, None for one that cannot be read. ``name``: that of the family, as in its heads."""
        head = "\n".join(heads)
        last, seen = self._last.get(head, {}), self._seen.setdefault(head, {})
        samples: list[Sample | None] = []
        unknown: list[int] = []
        for place, line in enumerate(lines):
            before, _, value = line.rpartition(" ")
            known = last.get(before)
            number = None if known is None else _number(value)
            if known is None or number is None:
                unknown.append(place)
                samples.append(None)
            else:
                seen[before] = known
                samples.append(known._replace(value=number))
        for place, found in zip(
            unknown, _parsed(name, head, [lines[each] for each in unknown]), strict=True
        ):
            if found is not None:
                sample, timed = found
                samples[place] = sample
                if not timed:
                    seen[lines[place].rpartition(" ")[0]] = sample
        return samples


def _number(text: str) -> float | None:
    """None where the parser has to say what it is."""
    try:
        number = float(text)
    except ValueError:
        return None
    return None if "_" in text or math.isinf(number) else number


def _parsed(name: str, head: str, lines: Sequence[str]) -> list[tuple[Sample, bool] | None]:
    """Each with whether it has a timestamp. The parser gives up at the first line that it cannot read."""
    try:
        return list(_all_parsed(name, "\n".join((head, *lines)))) if lines else []
    except (ValueError, LookupError, OverflowError):
        if len(lines) == 1:
            return [None]
    return [each for line in lines for each in _parsed(name, head, [line])]


def _all_parsed(name: str, text: str) -> list[tuple[Sample, bool]]:
    found = []
    for metric in text_string_to_metric_families(text):
        kind = metric.type if metric.type in _KINDS else "untyped"
        family = metric.name
        # The parser takes the end off a counter's name, or adds it to its samples'.
        if kind == "counter" and name in (family, f"{family}_total"):
            family = name
        for each in metric.samples:
            sample = Sample(
                family=family,
                kind=kind,
                documentation=metric.documentation,
                name=family if kind == "counter" else each.name,
                labels=tuple(each.labels.items()),
                value=float(each.value),
            )
            found.append((sample, each.timestamp is not None))
    return found
