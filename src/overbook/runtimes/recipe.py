"""What an environment is made of, as values: a runtime, its extras, and packages that people chose versions of.

What people chose goes before the runtime's pins; the pins are still preferred for all the rest, as far as that goes
together. Pure: lines in, lines out.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from overbook.runtimes.catalogue import Runtime

# Names of packages that bring the same module: whoever names one does not want another of its row.
_SAME: Final = (
    ("xgboost", "xgboost-cpu"),
    ("tensorflow", "tensorflow-cpu"),
    ("onnxruntime", "onnxruntime-gpu"),
)
_OPERATOR: Final = re.compile(r"[<>=!~]")


class UnusableRequirement(Exception):
    """It is not a requirement, or it asks for what cannot be chosen. The message is for people."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """``packages``: requirements as `normal` writes them, sorted by name, each name once."""

    runtime: Runtime
    extras: frozenset[str]
    packages: tuple[str, ...] = ()

    @property
    def folder_name(self) -> str:
        """Changes whenever another environment is needed: other pins, extras, packages or another Python."""
        return self.keyed("\n".join(self.packages).encode() if self.packages else b"")

    def keyed(self, more: bytes) -> str:
        """The same, where ``more`` makes it another environment; nothing makes none."""
        if not more:
            return self.runtime.folder_name(self.extras)
        digest = hashlib.sha256(self.runtime.folder_name(self.extras).encode())
        digest.update(b"\0" + more)
        python = f"py{sys.version_info.major}.{sys.version_info.minor}"
        return f"{self.runtime.name}-{digest.hexdigest()[:16]}-{python}"

    @property
    def title(self) -> str:
        """For people: `mlserver with xgboost, scikit-learn==1.6.1`."""
        added = [each.name for each in self.runtime.chosen(self.extras) if not each.default]
        words = ", ".join((*added, *self.packages))
        return f"{self.runtime.name} with {words}" if words else self.runtime.name


def chosen(known: Runtime, words: Iterable[str]) -> tuple[frozenset[str], tuple[str, ...]]:
    """Extras and packages that these words name, such as `xgboost` and `scikit-learn==1.6.1`.

    A version of an extra's own package brings the extra along. Raises UnknownExtra, UnusableRequirement.
    """
    extras: set[str] = set()
    packages: list[str] = []
    for word in words:
        if _OPERATOR.search(word) or "@" in word:
            packages.append(word)
        else:
            extras.add(word)
    known.chosen(extras)
    found = normal(known, packages)
    return frozenset(extras) | implied(known, map(name_of, found)), found


def normal(known: Runtime, packages: Iterable[str]) -> tuple[str, ...]:
    """The requirements in one way of writing; of two for one package the later counts. Raises UnusableRequirement."""
    found: dict[str, str] = {}
    for text in packages:
        try:
            requirement = Requirement(text)
        except InvalidRequirement as error:
            raise UnusableRequirement(
                f"{text!r} is not a requirement; expected NAME and versions, such as scikit-learn==1.6.1"
            ) from error
        requirement.name = name = canonicalize_name(requirement.name)
        if known.is_server(name):
            raise UnusableRequirement(
                f"{text!r} cannot be chosen: what Overbook adds to runtime {known.name} is made for the version that "
                "it pins (overbook runtime list)"
            )
        found[name] = str(requirement)
    return tuple(found[name] for name in sorted(found))


def name_of(requirement: str) -> str:
    """The package's name in a requirement that `normal` wrote."""
    return Requirement(requirement).name


def merged(known: Runtime, before: Iterable[str], more: Iterable[str]) -> tuple[str, ...]:
    """``more`` over what was chosen ``before``. What asks for the runtime's own pin asks for nothing any more."""
    both = {name_of(each): each for each in (*before, *more)}
    pins = known.pins({extra.name for extra in known.extras})
    return tuple(
        both[name] for name in sorted(both) if both[name] != f"{name}=={pins.get(name, '')}"
    )


def implied(known: Runtime, names: Iterable[str]) -> frozenset[str]:
    """The extras whose own packages are among these."""
    wanted = {other for name in names for other in same_module(name)}
    return frozenset(extra.name for extra in known.extras if wanted & set(extra.packages))


def offered(installed: Mapping[str, str]) -> tuple[str, ...]:
    """``name==version`` of every package, also by the name of the one whose module it brings."""
    found = dict(installed)
    for name, version in installed.items():
        found.setdefault(same_module(name)[0], version)
    return tuple(f"{name}=={found[name]}" for name in sorted(found))


def present(known: Runtime, installed: Collection[str]) -> frozenset[str]:
    """The extras of which everything is installed."""

    def is_there(name: str) -> bool:
        return any(other in installed for other in same_module(name))

    return frozenset(extra.name for extra in known.extras if all(map(is_there, extra.packages)))


def wanted_lines(recipe: Recipe, names: Collection[str]) -> list[str]:
    """What is asked of the resolver, beside what people chose, whose packages are ``names``: all that the runtime and
    its extras name, without the versions that are only Overbook's choice.
    """
    replaced = {other for name in names for other in same_module(name)}
    known = recipe.runtime
    return [
        str(each)
        for each in _named(known, recipe.extras)
        if not (known.alone and known.is_server(each.name)) and each.name not in replaced - {*names}
    ]


def unchosen(known: Runtime, names: Collection[str]) -> list[str]:
    """Packages that nobody shall get, but for those that somebody chose."""
    if known.excludes is None:
        return []
    lines = known.excludes.read_text(encoding="utf-8").splitlines()
    return [
        line
        for line in lines
        if line and not line.startswith("#") and Requirement(line).name not in names
    ]


def missing(recipe: Recipe, installed: Mapping[str, str]) -> list[str]:
    """What the runtime and its extras need and an environment with these packages does not have."""
    return [
        str(each)
        for each in _named(recipe.runtime, recipe.extras)
        if not any(
            other in installed and each.specifier.contains(installed[other], prereleases=True)
            for other in same_module(each.name)
        )
    ]


def _named(known: Runtime, extras: Iterable[str]) -> Iterator[Requirement]:
    """Of this machine, with exact versions of the server's own packages alone."""
    for lock in known.locks(extras):
        for line in lock.with_suffix(".in").read_text(encoding="utf-8").splitlines():
            if not line or line.startswith("#"):
                continue
            each = Requirement(line)
            if each.marker is not None and not each.marker.evaluate():
                continue
            each.marker = None
            if "==" in str(each.specifier) and not known.is_server(each.name):
                each = Requirement(each.name)
            yield each


def same_module(name: str) -> tuple[str, ...]:
    """Names of packages that bring the module of this one, itself included."""
    return next((row for row in _SAME if name in row), (name,))


def split_words(options: Iterable[str]) -> list[str]:
    """Words that commas separate; `scikit-learn>=1.6,<1.7` and `package[a,b]` are one each."""
    found: list[str] = []
    for option in options:
        begun = ""
        for part in option.split(","):
            piece = part.strip()
            if begun and (begun.count("[") > begun.count("]") or _OPERATOR.match(piece)):
                begun = f"{begun},{piece}"
                continue
            found.append(begun)
            begun = piece
        found.append(begun)
    return [each for each in found if each]
