"""Fills an environment: with what the lock files pin, or with what uv finds where people chose versions themselves.

Lock files are installed with hashes, as they are. Where people chose, uv resolves anew what the runtime asks for and
what they do, with the pins preferred; `overbook-packages.txt` in the environment then says what that came to.
``failed``, wherever it is given, begins the message of a failure: what is not there then.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from overbook.runtimes.installer import Progress, follow, import_all, run_uv
from overbook.runtimes.recipe import Recipe, name_of, unchosen, wanted_lines
from overbook.runtimes.requirements_file import Requirements

PACKAGES_FILE: Final = "overbook-packages.txt"


def make_empty(root: Path, failed: str) -> None:
    """An environment with no package, of the Python that runs this. Raises RuntimeInstallError."""
    run_uv(
        ["venv", "--quiet", "--relocatable", "--python", sys.executable, str(root)],
        failed,
        root.parent,
    )


def fill(recipe: Recipe, root: Path, progress: Progress, failed: str) -> None:
    """Of the recipe's packages and pins. Raises RuntimeInstallError."""
    if recipe.packages:
        fill_chosen(recipe, root, progress, failed)
        return
    # Without dependencies: the locks are whole, and leave out on purpose what nobody needs (GPU libraries).
    command = [*_install(root), "--require-hashes"]
    for lock in recipe.runtime.locks(recipe.extras):
        command += ["-r", str(lock)]
    run_uv(command, failed, root.parent, follow(progress))


def fill_chosen(
    recipe: Recipe,
    root: Path,
    progress: Progress,
    failed: str,
    *,
    asked: Requirements | None = None,
    kept: Mapping[str, str] | None = None,
) -> None:
    """With what people chose: the recipe's packages, and what a requirements file asks for (``asked``).

    ``kept``: packages, with versions, that are in the environment already and stay. Raises RuntimeInstallError.
    """
    known = recipe.runtime
    asked = Requirements() if asked is None else asked
    names = {name_of(each) for each in recipe.packages} | asked.names | set(kept or ())
    with tempfile.TemporaryDirectory(dir=root) as folder:
        work = Path(folder)
        wanted = [*wanted_lines(recipe, names), *recipe.packages, *asked.lines]
        _write(work / "wanted.in", [*asked.sources, *wanted])
        # uv keeps nothing of where packages come from for those who install them.
        _write(work / "sources.txt", asked.sources)
        _write(work / "excludes.txt", unchosen(known, names))
        constraints = {f"{name}=={version}" for name, version in (kept or {}).items()}
        constraints |= set(asked.constraints)
        if known.alone:
            constraints |= set(_bounds(recipe))
        _write(work / "constraints.txt", sorted(constraints))
        # uv prefers what stands in the file that it is to write.
        found = work / "found.txt"
        _write(found, _pins(known.pins(recipe.extras)))
        command = [
            *("pip", "compile", "--no-header", "--no-annotate"),
            *("--python", str(root / "bin" / "python"), "--output-file", str(found)),
            *("--constraints", str(work / "constraints.txt")),
            *("--excludes", str(work / "excludes.txt")),
            str(work / "wanted.in"),
        ]
        progress("finding versions that go together", None)
        run_uv(command, failed, root, follow(progress))
        lines = found.read_text(encoding="utf-8").splitlines()
        if known.alone:
            there = {_name(line) for line in lines}
            own = {name: version for name, version in known.pins().items() if name not in there}
            lines += _pins(own)
        _write(root / PACKAGES_FILE, lines)
        files = [str(root / PACKAGES_FILE), *([str(work / "sources.txt")] if asked.sources else ())]
        command = [*_install(root), *(word for each in files for word in ("-r", each))]
        run_uv(command, failed, root, follow(progress))
    progress("trying it", None)
    import_all(root / "bin" / "python", known.imports, failed)


def _install(root: Path) -> list[str]:
    return [
        *("pip", "install", "--no-deps", "--compile-bytecode"),
        *("--python", str(root / "bin" / "python")),
    ]


def _bounds(recipe: Recipe) -> Iterable[str]:
    """What a server that is installed without what it asks for needs of packages that others may bring."""
    for line in recipe.runtime.lock.with_suffix(".in").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#") and not recipe.runtime.is_server(_name(line)):
            yield line


def _name(line: str) -> str:
    """The package that a line is about; "" for comments, options and what cannot be read."""
    text = line.split(" #")[0].split(" --")[0].strip().rstrip("\\")
    try:
        return canonicalize_name(Requirement(text).name)
    except InvalidRequirement:
        return ""


def _pins(versions: Mapping[str, str]) -> list[str]:
    return [f"{name}=={version}" for name, version in versions.items()]


def _write(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
