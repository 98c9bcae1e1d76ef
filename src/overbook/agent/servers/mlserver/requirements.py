"""What a model's ``requirements.txt`` asks for against what the runtime's environment has.

All models of a server share one environment, so nothing is installed for a model; what is missing is named.
Reads files only. Packages that lie in the model's own folder count: its code imports them from there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from overbook.agent.servers.formats.reading import read_whole
from overbook.manifests.problems import shown
from overbook.runtimes.installed import installed

REQUIREMENTS_FILE: Final = "requirements.txt"
_SHOWN: Final = 5
# Bytes of the file, and characters of one requirement without its hashes.
_MOST: Final = 1 << 20
_LONGEST: Final = 1000
_INFO: Final = re.compile(r"([A-Za-z0-9._]+)-([A-Za-z0-9._!+]+)\.(?:dist|egg)-info")


def unmet(folder: Path, python: Path) -> str:
    """In words what the environment of ``python`` lacks for the model in ``folder``; empty when nothing.

    Raises OSError, UnicodeDecodeError, FormatError when the file cannot be read.
    """
    try:
        lines = read_whole(folder / REQUIREMENTS_FILE, _MOST).decode().splitlines()
    except FileNotFoundError:
        return ""
    here = {**_installed(python), **_brought(folder)}
    # The same again says nothing more, and costs as much.
    wanted = dict.fromkeys(_joined(lines))
    problems = [problem for line in wanted if (problem := _problem(line, here))]
    more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    return ", ".join(problems[:_SHOWN]) + more


def _problem(line: str, here: Mapping[str, str]) -> str:
    """What is wrong with one requirement; empty when it is met or asks for nothing here."""
    if line.startswith("-"):
        # Where to get packages from does not matter, as none is fetched; what else to read does.
        option = line.split()[0].split("=")[0]
        return f"{shown(line)} (cannot be followed)" if option in _FOLLOWED else ""
    if len(line) > _LONGEST:
        return f"{shown(line)} (expected at most {_LONGEST} characters)"
    try:
        wanted = Requirement(line)
        if wanted.marker is not None and not wanted.marker.evaluate():
            return ""
    # What a marker compares may make no sense, and it may be nested deeper than its reader can follow.
    except (ValueError, RecursionError):
        return f"{shown(line)} (expected NAME and versions)"
    found = here.get(canonicalize_name(wanted.name))
    if found is None:
        return f"{_shown(wanted)} (not installed)"
    try:
        fits = wanted.specifier.contains(Version(found), prereleases=True)
    except InvalidVersion:
        fits = True
    return "" if fits else f"{_shown(wanted)} ({found} is installed)"


_FOLLOWED: Final = frozenset({"-r", "--requirement", "-c", "--constraint", "-e", "--editable"})


def _shown(wanted: Requirement) -> str:
    return f"{wanted.name}{wanted.specifier}"


def _joined(lines: Iterable[str]) -> Iterator[str]:
    """Requirements without comments, hashes and empty lines; a backslash continues a line."""
    parts: list[str] = []
    for line in lines:
        bare = line.strip()
        if bare.startswith("#"):
            continue
        bare = bare.split(" #")[0].strip()
        if bare.endswith("\\"):
            parts.append(bare[:-1].rstrip())
            continue
        yield from _requirement([*parts, bare])
        parts = []
    yield from _requirement(parts)


def _requirement(parts: Iterable[str]) -> Iterator[str]:
    if requirement := " ".join(parts).split(" --")[0].strip():
        yield requirement


@lru_cache(maxsize=8)
def _installed(python: Path) -> Mapping[str, str]:
    # An environment never changes; see `overbook.runtimes.install`.
    return installed(python.parent.parent)


def _brought(folder: Path) -> dict[str, str]:
    """What lies in the model's own folder, by the names that installers give: nothing there is read."""
    found = (_INFO.fullmatch(path.name) for path in folder.iterdir())
    return {canonicalize_name(each[1]): each[2] for each in found if each}
