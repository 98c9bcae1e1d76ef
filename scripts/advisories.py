"""Pure: which records of known vulnerabilities (OSV) apply to which pinned packages, and which of them are accepted.

Reading files, and saying what was found, is `scripts.vulnerabilities`'s job.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

_PIN: Final = re.compile(r"^([A-Za-z0-9][\w.-]*)==([^\s;\\]+)", re.MULTILINE)
_PYPI: Final = "PyPI"
# Ranges whose ends are versions; those of GIT are commits, which no lock file names.
_RANGES: Final = frozenset({"ECOSYSTEM", "SEMVER"})


@dataclass(frozen=True, slots=True, order=True)
class Pin:
    """A package in one version, as a lock file has it. ``name``: in its canonical form."""

    name: str
    version: str
    lock: str


@dataclass(frozen=True, slots=True)
class Finding:
    """A known vulnerability of a pinned package. ``ids``: its own first, then the others that it is known by."""

    pin: Pin
    ids: tuple[str, ...]
    summary: str
    fixed: str

    def __str__(self) -> str:
        others = f" ({', '.join(self.ids[1:])})" if len(self.ids) > 1 else ""
        fixed = f"; mended in {self.fixed}" if self.fixed else "; no version is said to mend it"
        pin = self.pin
        return f"{pin.lock}: {pin.name} {pin.version}: {self.ids[0]}{others}: {self.summary}{fixed}"


@dataclass(frozen=True, slots=True)
class Accepted:
    """A vulnerability that stays until a day, that one included, and why."""

    id: str
    package: str
    until: date
    reason: str

    def covers(self, finding: Finding) -> bool:
        """Whether it is about that, be its time over or not."""
        return self.id in finding.ids and canonicalize_name(self.package) == finding.pin.name


def pins(text: str, lock: str) -> Iterator[Pin]:
    """All that a lock file pins, in each version that it has for some Python or system."""
    for name, version in _PIN.findall(text):
        yield Pin(canonicalize_name(name), version, lock)


def findings(
    records: Iterable[Mapping[str, Any]],
    pinned: Sequence[Pin],
    inside: Mapping[str, Sequence[str]],
) -> list[Finding]:
    """``inside``: what else a package on PyPI holds in its own version, each as ECOSYSTEM:NAME."""
    by_name: dict[tuple[str, str], list[Pin]] = {}
    for pin in pinned:
        by_name.setdefault((_PYPI, pin.name), []).append(pin)
        for each in inside.get(pin.name, ()):
            ecosystem, _, name = each.partition(":")
            by_name.setdefault((ecosystem, name), []).append(pin)
    found = {
        (pin, record["id"]): _finding(record, affected, pin)
        for record in records
        if "withdrawn" not in record
        for affected in record.get("affected", ())
        for pin in by_name.get(_package(affected), ())
        if _is_affected(affected, pin.version)
    }
    return [found[key] for key in sorted(found)]


def _package(affected: Mapping[str, Any]) -> tuple[str, str]:
    package = affected.get("package", {})
    ecosystem, name = package.get("ecosystem", ""), package.get("name", "")
    return ecosystem, canonicalize_name(name) if ecosystem == _PYPI else name


def _finding(record: Mapping[str, Any], affected: Mapping[str, Any], pin: Pin) -> Finding:
    words = (record.get("summary") or record.get("details") or "no summary").split()
    summary = " ".join(words)
    return Finding(
        pin,
        (record["id"], *record.get("aliases", ())),
        summary if len(summary) <= 120 else f"{summary[:119]}…",
        _mended(affected, Version(pin.version)),
    )


def _is_affected(affected: Mapping[str, Any], version: str) -> bool:
    if version in map(str, affected.get("versions", ())):
        return True
    return any(_is_within(each, Version(version)) for each in _ranges(affected))


def _ranges(affected: Mapping[str, Any]) -> Iterator[list[tuple[Version, str]]]:
    """The events of each range, in the order of their versions; without those whose version nobody can read."""
    for each in affected.get("ranges", ()):
        if each.get("type") in _RANGES:
            events = [
                (_version(str(at)), kind) for event in each["events"] for kind, at in event.items()
            ]
            yield sorted((at, kind) for at, kind in events if at is not None)


def _version(text: str) -> Version | None:
    # "0" stands for before everything, development versions too.
    try:
        return Version("0.dev0") if text == "0" else Version(text)
    except InvalidVersion:
        return None


def _is_within(events: Sequence[tuple[Version, str]], at: Version) -> bool:
    """As OSV evaluates a range: the last event that is not after the version counts."""
    inside = False
    for when, kind in events:
        if kind == "introduced" and when <= at:
            inside = True
        elif (kind in ("fixed", "limit") and when <= at) or (kind == "last_affected" and when < at):
            inside = False
    return inside


def _mended(affected: Mapping[str, Any], at: Version) -> str:
    """The lowest version above that one which is said to mend it, "" when there is none."""
    return next(
        (
            str(when)
            for when, kind in sorted(each for events in _ranges(affected) for each in events)
            if kind == "fixed" and when > at
        ),
        "",
    )
