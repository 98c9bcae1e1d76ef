"""Looks for known vulnerabilities in what the lock files pin. Part of `make lint`; asks no network.

The advisories are records of OSV: a folder or a zip file of them, or a single one, in JSON or YAML. Such are PyPA's
advisory-database and OSV's own exports. OVERBOOK_ADVISORIES says where they are (several: with ':' between them);
otherwise they are looked for at build/advisories, where `make advisories` puts them. Without any this says that it
could ask nobody, and fails nothing. What applies, and what is accepted, is decided in `scripts.advisories`.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tomllib
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

import yaml
from packaging.utils import canonicalize_name

from scripts.advisories import Accepted, Finding, Pin, findings, pins

ROOT: Final = Path(__file__).parents[1]
VARIABLE: Final = "OVERBOOK_ADVISORIES"
USUAL: Final = Path("build") / "advisories"
_SETTINGS: Final = Path("scripts") / "vulnerabilities.toml"
_ENDINGS: Final = (".json", ".yaml", ".yml")
# Most records are of packages that nobody here has: those are not parsed.
_NAME: Final = re.compile(r"""["']?name["']?:\s*["']?([^\s"',}]+)""")


class AdvisoriesError(Exception):
    """The advisories, or what is accepted, cannot be read."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What `scripts/vulnerabilities.toml` says."""

    passed_over: frozenset[str]
    inside: Mapping[str, Sequence[str]]
    accepted: tuple[Accepted, ...]


def settings(text: str) -> Settings:
    """Raises AdvisoriesError."""
    try:
        said = tomllib.loads(text)
        accepted = tuple(Accepted(**each) for each in said.get("accepted", ()))
    except (tomllib.TOMLDecodeError, TypeError) as error:
        raise AdvisoriesError(f"{_SETTINGS}: {error}") from None
    for each in accepted:
        if type(each.until) is not date or not str(each.reason).strip():
            raise AdvisoriesError(
                f"{_SETTINGS}: {each.id}: expected until = YYYY-MM-DD, and a reason that is not empty"
            )
    return Settings(
        frozenset(said.get("passed-over", ())),
        {canonicalize_name(name): each for name, each in said.get("inside", {}).items()},
        accepted,
    )


def locks(root: Path, passed_over: frozenset[str]) -> list[Pin]:
    """All that any lock file of the project pins."""
    found: list[Pin] = []
    hidden = (path for path in root.iterdir() if not path.name.startswith((".", "build")))
    for folder in sorted(hidden):
        for path in sorted(folder.rglob("*.lock")) if folder.is_dir() else [folder]:
            name = path.relative_to(root).as_posix()
            if path.suffix == ".lock" and name not in passed_over:
                found += pins(path.read_text(encoding="utf-8"), name)
    return found


def records(place: Path, names: frozenset[str]) -> Iterator[Mapping[str, Any]]:
    """The advisories there that name one of these packages, in their canonical form. Raises AdvisoriesError."""
    for where, text in _texts(place):
        if names.isdisjoint(map(canonicalize_name, _NAME.findall(text))):
            continue
        try:
            read = json.loads(text) if where.endswith(".json") else _yaml(text)
        except (ValueError, yaml.YAMLError) as error:
            raise AdvisoriesError(f"{where}: not a record of OSV: {error}") from None
        for each in read if isinstance(read, list) else [read]:
            if not isinstance(each, Mapping) or "id" not in each:
                raise AdvisoriesError(
                    f"{where}: not a record of OSV; expected an object with an id"
                )
            yield each


def _yaml(text: str) -> Any:
    # Versions and dates stay text.
    return yaml.load(text, Loader=yaml.CBaseLoader if yaml.__with_libyaml__ else yaml.BaseLoader)


def _texts(place: Path) -> Iterator[tuple[str, str]]:
    try:
        if place.is_dir():
            for path in sorted(place.rglob("*")):
                if path.suffix in _ENDINGS and path.is_file() and ".git" not in path.parts[:-1]:
                    yield str(path), path.read_text(encoding="utf-8")
        elif zipfile.is_zipfile(place):
            with zipfile.ZipFile(place) as archive:
                for name in sorted(archive.namelist()):
                    if name.endswith(_ENDINGS):
                        yield f"{place}/{name}", archive.read(name).decode()
        else:
            yield str(place), place.read_text(encoding="utf-8")
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise AdvisoriesError(f"{place}: {error}") from None


def places(root: Path, said: str) -> list[Path]:
    """Where advisories are: those that ``said`` names, or the usual place, if anything is there."""
    if said:
        return [Path(each) for each in said.split(os.pathsep)]
    return [root / USUAL] if (root / USUAL).exists() else []


def look_through(root: Path, said: str, today: date) -> tuple[int, list[str]]:
    """The exit status, and the lines to print. Raises AdvisoriesError."""
    configured = settings((root / _SETTINGS).read_text(encoding="utf-8"))
    pinned = locks(root, configured.passed_over)
    where = places(root, said)
    if not where:
        told = f"{VARIABLE} is not set, and nothing is at {USUAL}"
        return 0, [
            f"vulnerabilities: could not ask for known vulnerabilities: {told}; `make advisories` brings some"
        ]
    inside = {name.partition(":")[2] for each in configured.inside.values() for name in each}
    names = frozenset(pin.name for pin in pinned) | frozenset(map(canonicalize_name, inside))
    known = [each for place in where for each in records(place, names)]
    found = findings(known, pinned, configured.inside)
    return _said(found, configured.accepted, today, len({pin.name for pin in pinned}), known)


def _said(
    found: Sequence[Finding],
    accepted: Sequence[Accepted],
    today: date,
    packages: int,
    known: Sequence[Mapping[str, Any]],
) -> tuple[int, list[str]]:
    lines, failed = [], False
    for finding in found:
        by = next((each for each in accepted if each.covers(finding)), None)
        if by is not None and today <= by.until:
            lines.append(f"vulnerabilities: accepted until {by.until} ({by.reason}): {finding}")
            continue
        over = f" (accepted until {by.until}, which is over)" if by is not None else ""
        lines.append(f"vulnerabilities: {finding}{over}")
        failed = True
    for each in accepted:
        if not any(each.covers(finding) for finding in found):
            lines.append(
                f"vulnerabilities: {_SETTINGS}: {each.id} of {each.package} applies no more"
            )
    newest = max((str(each.get("modified", ""))[:10] for each in known), default="")
    lines.append(
        f"vulnerabilities: {packages} packages, {len(known)} advisories read"
        + (f", the newest of {newest}" if newest else "")
    )
    if failed:
        lines.append(
            "vulnerabilities: raise what is named (`make lock`), or accept it for a time with a reason in "
            f"{_SETTINGS}"
        )
    return int(failed), lines


def main() -> int:
    try:
        status, lines = look_through(ROOT, os.environ.get(VARIABLE, ""), datetime.now(UTC).date())
    except AdvisoriesError as error:
        status, lines = 2, [f"vulnerabilities: {error}"]
    print("\n".join(lines))
    return status


if __name__ == "__main__":
    sys.exit(main())
