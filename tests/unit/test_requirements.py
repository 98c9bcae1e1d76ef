"""What pyproject.toml promises of other packages: all that is imported is named, and in its lowest version tested."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT: Final = Path(__file__).parents[2]
SOURCE: Final = ROOT / "src" / "overbook"
# Code that runs in other environments, with other packages.
ELSEWHERE: Final = (
    SOURCE / "runtimes" / "mlserver" / "plugin",
    SOURCE / "runtimes" / "triton" / "plugin",
    SOURCE / "demo" / "trainers",
)
# Which distribution is meant where several share a package, or one pins the other to a single version.
MEANT: Final = {"google": "protobuf", "envoy": "xds-protos", "pydantic_core": "pydantic"}
PIN: Final = re.compile(r"^([\w.-]+)==(\S+)", re.MULTILINE)


def needed() -> dict[str, Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {
        canonicalize_name(each.name): each for each in map(Requirement, project["dependencies"])
    }


def optional() -> set[str]:
    """What the extras for users bring; it is imported where it is there."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    return {
        canonicalize_name(Requirement(each).name)
        for extra in extras.keys() - {"unit", "dev"}
        for each in extras[extra]
    }


def lower_bound(requirement: Requirement) -> Version:
    (bound,) = [each for each in requirement.specifier if each.operator in (">=", "==")]
    return Version(bound.version)


def locked(text: str) -> dict[str, Version]:
    """Of a package with several versions, for several Pythons, the lowest."""
    found: dict[str, Version] = {}
    for name, version in PIN.findall(text):
        found[name] = min(found.get(name, Version(version)), Version(version))
    return found


def imported(text: str) -> Iterator[str]:
    """Names of packages, wherever in a module they are imported."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (each.name.partition(".")[0] for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def distributions(packages: Iterable[str]) -> set[str]:
    """By which distributions these packages are installed, but for Python's own and ours."""
    installed = packages_distributions()
    foreign = set(packages) - sys.stdlib_module_names - {"overbook"}
    return {
        canonicalize_name(MEANT.get(each) or installed.get(each, [each])[0]) for each in foreign
    }


def test_each_lower_bound_is_what_the_lowest_versions_are_tested_with() -> None:
    tested = locked((ROOT / "requirements-lowest.lock").read_text(encoding="utf-8"))
    bounds = {name: lower_bound(each) for name, each in needed().items()}
    assert bounds == {name: tested[name] for name in bounds}


def test_every_package_that_is_imported_is_named() -> None:
    files = [
        each
        for each in SOURCE.rglob("*.py")
        if not any(each.is_relative_to(folder) for folder in ELSEWHERE)
    ]
    packages = {name for each in files for name in imported(each.read_text(encoding="utf-8"))}
    assert distributions(packages) <= needed().keys() | optional()


def test_an_import_inside_a_function_is_seen() -> None:
    assert set(imported("import a.b\ndef f():\n    from c.d import e\n    from . import g\n")) == {
        "a",
        "c",
    }


def test_of_several_locked_versions_the_lowest_counts() -> None:
    assert locked("n==2.0 ; x \\\n    --hash=1\nn==1.9 ; y \\\n") == {"n": Version("1.9")}
