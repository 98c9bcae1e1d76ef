"""What is wrong with a manifest, as values: a Problem a line, and an error that carries them all.

Reading and checking live in `parse` and `validate`; printing lives in the shell that caught it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, TypeAlias

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
Path: TypeAlias = tuple[str | int, ...]

# Any other name of a field is quoted: it may hold line breaks, or nothing at all.
_PLAIN: Final = re.compile(r"[\w./-]{1,80}")


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong, or worth a warning: the field by `path`, the place by source and line."""

    message: str
    path: Path = ()
    source: str | None = None
    line: int | None = None

    @property
    def field(self) -> str:
        """The path as people write it: `spec.requirements[1]`."""
        return field_name(self.path)

    def __str__(self) -> str:
        place = ""
        if self.source is not None:
            place = f"{self.source}:{self.line}: " if self.line is not None else f"{self.source}: "
        return f"{place}{self.field}: {self.message}" if self.path else f"{place}{self.message}"


class ManifestError(ValueError):
    """Raised with every problem found, not only the first."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


def field_name(path: Path) -> str:
    """A path such as `("spec", "requirements", 1)` as `spec.requirements[1]`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        else:
            name = step if _PLAIN.fullmatch(step) else shown(step)
            text += f".{name}" if text else name
    return text


def shown(value: object) -> str:
    """A value as it appears in a message: quoted when text, short, always one line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, dict):
        return "a mapping"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:76]}...{text[-1]}"
