"""A remote as rclone has it: named sections with parameters, and how they are written for it. Pure.

Rclone's configuration has no way to write every value: what it would read otherwise than it was meant is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

# The section that every path of ours begins with.
MAIN: Final = "source"
_KEY: Final = re.compile(r"[a-z][a-z0-9_]*")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
# They start programs on this machine, or on the server.
_PROGRAMS: Final = re.compile(r"ssh|set_env|server_command|.*_command|.*_command_.*")
# Of these, line breaks have a spelling on one line.
_PEM: Final = frozenset({"key_pem"})


class Unwritable(ValueError):
    """A parameter that may not be given to rclone, or cannot. Says its key and never its value."""


@dataclass(frozen=True, slots=True)
class Section:
    """``parameters``: in their order, with the type; in no text that is made of it."""

    name: str
    parameters: tuple[tuple[str, str], ...] = field(repr=False)


def section(name: str, kind: str, parameters: Mapping[str, str]) -> Section:
    """Raises Unwritable."""
    if not re.fullmatch(r"[a-z0-9 ]+", kind):
        raise Unwritable("its type is no type of rclone's; expected one such as s3")
    rest = {key: value for key, value in parameters.items() if key != "type"}
    lines = [("type", kind)]
    for key, value in rest.items():
        # With a dot, a key would change options of the whole program.
        if not _KEY.fullmatch(key):
            raise Unwritable(
                "a key of it is no parameter of a remote; expected small letters, digits and `_`"
            )
        if _PROGRAMS.fullmatch(key):
            raise Unwritable(f"its {key} would start a program, which is never done here")
        lines.append((key, _one_line(key, value)))
    return Section(name, tuple(lines))


def _one_line(key: str, value: str) -> str:
    if key in _PEM:
        value = value.strip().replace("\r", "").replace("\n", "\\n")
    elif _CONTROL.search(value) and value.lstrip().startswith("{"):
        value = _compact(key, value)
    value = value.strip()
    if _CONTROL.search(value) or value.startswith(('"""', "`")) or "%(" in value:
        raise Unwritable(
            f"its {key} has a line break, begins with a quotation mark, or has `%(`, "
            "which rclone's configuration cannot hold; expected plain text on one line"
        )
    return value


def _compact(key: str, value: str) -> str:
    try:
        return json.dumps(json.loads(value))
    except ValueError:
        raise Unwritable(f"its {key} begins as JSON does and is none; expected JSON") from None


def written(sections: tuple[Section, ...]) -> bytes:
    """Rclone's configuration."""
    parts = []
    for each in sections:
        parts.append(f"[{each.name}]")
        parts += [f"{key} = {value}" for key, value in each.parameters]
        parts.append("")
    return "\n".join(parts).encode()
