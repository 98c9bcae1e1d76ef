"""Requirements with versions: `scikit-learn==1.6.*` in a Model, and which versions a server offers. Pure.

A server offers a package as one word, `scikit-learn==1.6.1`, beside the plain words of what it can serve. A plain word
is met by the same word alone, one with versions by the package in a fitting version.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from overbook.manifests.problems import shown

_OPERATOR: Final = re.compile(r"[<>=!~]")
_EXAMPLE: Final = "scikit-learn==1.6.1"
# What people call frameworks here, by the names of their packages.
_PACKAGES: Final = {"sklearn": "scikit-learn", "pytorch": "torch"}


def is_versioned(word: str) -> bool:
    """Whether the word asks for versions of a package, or offers one."""
    return _OPERATOR.search(word) is not None


def parse_requirement(text: str) -> Requirement:
    """A requirement as PEP 508 has it. Raises ValueError with what was expected."""
    try:
        return Requirement(text)
    except InvalidRequirement as error:
        raise ValueError(
            f"{shown(text)} is not a requirement; expected NAME and versions, such as {_EXAMPLE}"
        ) from error


def check_word(text: str) -> None:
    """Raises ValueError for what looks like a requirement with versions, and cannot be met by any."""
    if not is_versioned(text):
        return
    found = parse_requirement(text)
    if found.marker is not None or found.url is not None or found.extras:
        raise ValueError(f"{shown(text)} says more than a name and versions; expected {_EXAMPLE}")


def plain_word(word: str) -> str:
    """What is asked for, without versions: `xgboost` of `xgboost>=2`."""
    return _OPERATOR.split(word, maxsplit=1)[0].strip() if is_versioned(word) else word


def unmet(requirements: Iterable[str], offered: frozenset[str]) -> list[str]:
    """Those of the requirements that are not among what a server offers, sorted."""
    return sorted(
        word
        for word in requirements
        if word not in offered and not (is_versioned(word) and _is_met(word, offered))
    )


def versions_offered(word: str, offered: frozenset[str]) -> list[str]:
    """The versions of the package that the word asks for, the newest last."""
    found = _versions(offered).get(_package(word), ())
    return [str(each) for each in sorted(found)]


def words_offered(offered: Iterable[str]) -> list[str]:
    """The plain words, sorted: a server has hundreds of packages."""
    return sorted(each for each in offered if not is_versioned(each))


def _is_met(word: str, offered: frozenset[str]) -> bool:
    wanted = _parsed(word)
    if wanted is None:
        return False
    found = _versions(offered).get(_package(word), ())
    return any(wanted.specifier.contains(each, prereleases=True) for each in found)


@lru_cache(maxsize=4096)
def _parsed(word: str) -> Requirement | None:
    try:
        return Requirement(word)
    except InvalidRequirement:
        return None


def _package(word: str) -> str:
    name = canonicalize_name(plain_word(word))
    return _PACKAGES.get(name, name)


@lru_cache(maxsize=256)
def _versions(offered: frozenset[str]) -> dict[str, tuple[Version, ...]]:
    found: dict[str, tuple[Version, ...]] = {}
    for each in offered:
        name, separator, version = each.partition("==")
        if not separator:
            continue
        try:
            parsed = Version(version)
        except InvalidVersion:
            continue
        key = canonicalize_name(name)
        found[key] = (*found.get(key, ()), parsed)
    return found
