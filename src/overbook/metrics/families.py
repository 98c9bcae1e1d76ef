"""Pure: series that others measured, the names that they take, and their text in Prometheus' format.

No I/O, log or clock, and nothing of who measured them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

# By name, sorted.
Labels: TypeAlias = tuple[tuple[str, str], ...]

OURS: Final = "overbook_"
# The names of samples that a family of a kind has.
_SUFFIXES: Final[Mapping[str, tuple[str, ...]]] = {
    "histogram": ("", "_bucket", "_count", "_sum"),
    "summary": ("", "_count", "_sum"),
}


class Series(NamedTuple):
    """One sample. ``name``: its own, which may be longer than its family's."""

    name: str
    labels: Labels
    value: float


@dataclass(slots=True)
class Family:
    """All series of one name. ``kind``: counter, gauge, histogram, summary or untyped."""

    name: str
    kind: str
    documentation: str
    series: list[Series] = field(default_factory=list)


class Names:
    """Which kind of metric each name is, on one page: a name is of one kind, whoever uses it.

    Who comes first decides, until nobody uses the name any more.
    """

    def __init__(self) -> None:
        self._kinds: dict[str, tuple[str, str]] = {}  # family and kind, by names of samples
        self._users: dict[str, set[str]] = {}  # by family
        self._used: dict[str, set[str]] = {}  # families, by user

    def claim(self, user: str, family: str, kind: str) -> bool:
        """Whether the name is, or becomes, of this kind."""
        if self._users.get(family) == {user}:
            self._drop(user, family)
        wanted = (family, kind)
        taken = [family + suffix for suffix in _SUFFIXES.get(kind, ("",))]
        if family.startswith(OURS) or any(
            self._kinds.get(each, wanted) != wanted for each in taken
        ):
            return False
        for each in taken:
            self._kinds[each] = wanted
        self._users.setdefault(family, set()).add(user)
        self._used.setdefault(user, set()).add(family)
        return True

    def release(self, user: str) -> None:
        """It uses none any more."""
        for family in list(self._used.get(user, ())):
            self._drop(user, family)

    def _drop(self, user: str, family: str) -> None:
        used, users = self._used[user], self._users[family]
        used.discard(family)
        users.discard(user)
        if not used:
            del self._used[user]
        if not users:
            del self._users[family]
            for name in [name for name, of in self._kinds.items() if of[0] == family]:
                del self._kinds[name]


def merged(families: Iterable[Family]) -> list[Family]:
    """Families of the same name as one, by name. What the first says of itself stands."""
    found: dict[str, Family] = {}
    for each in families:
        known = found.get(each.name)
        if known is None:
            known = found[each.name] = Family(each.name, each.kind, each.documentation)
        known.series += each.series
    return sorted(found.values(), key=lambda family: family.name)


def text_of(families: Iterable[Family]) -> str:
    """As Prometheus reads it (text format 0.0.4).

    prometheus_client could write it as well, but for counters whose names do not end in ``_total``, as Triton's.
    """
    lines: list[str] = []
    for family in families:
        documentation = family.documentation.replace("\\", r"\\").replace("\n", r"\n")
        lines.append(f"# HELP {family.name} {documentation}\n")
        lines.append(f"# TYPE {family.name} {family.kind}\n")
        lines += [
            f"{name}{_braced(labels)} {_number(value)}\n" for name, labels, value in family.series
        ]
    return "".join(lines)


def _braced(labels: Labels) -> str:
    inside = ",".join([f'{name}="{_escaped(value)}"' for name, value in labels])
    return f"{{{inside}}}" if inside else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    return repr(float(value))
