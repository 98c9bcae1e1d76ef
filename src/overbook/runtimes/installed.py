"""Which packages there are, with versions: what lock files pin for this machine, and what an environment has.

Names are canonical: `scikit-learn`, however somebody writes it.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import distributions
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name


def pinned(locks: Iterable[Path]) -> dict[str, str]:
    """Names and versions of what the lock files pin for this Python on this machine."""
    found: dict[str, str] = {}
    for lock in locks:
        for line in lock.read_text(encoding="utf-8").splitlines():
            requirement = _requirement(line)
            if requirement is not None:
                found[canonicalize_name(requirement.name)] = _exact(requirement)
    return found


def installed(root: Path) -> dict[str, str]:
    """Names and versions of what is installed in the environment at ``root``, as its packages say themselves."""
    folders = [str(path) for path in sorted(root.glob("lib/python*/site-packages"))]
    return {
        canonicalize_name(name): each.version
        for each in distributions(path=folders)
        if (name := each.metadata["Name"])
    }


def _requirement(line: str) -> Requirement | None:
    """What a line of a lock file pins here; None for hashes, comments and what other machines need."""
    if not line or line[0].isspace() or line.startswith("#"):
        return None
    try:
        requirement = Requirement(line.rstrip(" \\"))
    except InvalidRequirement:
        return None
    wanted = requirement.marker is None or requirement.marker.evaluate()
    return requirement if wanted and _exact(requirement) else None


def _exact(requirement: Requirement) -> str:
    return next((each.version for each in requirement.specifier if each.operator == "=="), "")
