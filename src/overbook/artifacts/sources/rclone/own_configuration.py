"""The remotes in the rclone configuration of the agent's user: which one a name means, with all that it refers to.

Pure, but for `read`.
"""

from __future__ import annotations

import configparser
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from overbook.artifacts.sources.rclone.identity import Machine
from overbook.artifacts.sources.rclone.sections import MAIN, Section, Unwritable, section

_ENCRYPTED: Final = "RCLONE_ENCRYPT_V"
_REFERENCE: Final = re.compile(r"(?P<name>[\w+@.][\w+@. -]*):(?P<path>.*)")
# Those that stand before one other remote, and write nothing.
_WRAPPERS: Final = frozenset({"alias", "crypt", "compress", "chunker"})
# They read this machine's disk or memory, keep something on it, or lead wherever their server says.
REFUSED: Final = frozenset(
    {
        *("alias", "archive", "cache", "chunker", "combine", "compress", "crypt", "hasher", "http"),
        *("local", "memory", "union"),
    }
)
_DEPTH: Final = 8

Configuration = Mapping[str, Mapping[str, str]]


def where(machine: Machine) -> Path:
    """Its file, whether there or not."""
    told = machine.said("RCLONE_CONFIG")
    if told:
        return Path(told)
    folder = machine.said("XDG_CONFIG_HOME") or machine.home / ".config"
    return Path(folder) / "rclone" / "rclone.conf"


def read(path: Path) -> Configuration:
    """All remotes; none where there is no such file. Raises Unwritable. Blocking."""
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        told = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise Unwritable(f"{path} cannot be read: {told}") from None
    return remotes_in(text, str(path))


def remotes_in(text: str, path: str) -> Configuration:
    """Raises Unwritable; its message has nothing of the text, which has secrets in it."""
    if _ENCRYPTED in text[:1000]:
        raise Unwritable(
            f"{path} is encrypted, and nobody is asked for its password; expected plain text"
        )
    parser = configparser.RawConfigParser(delimiters=("=",), strict=False, default_section="\0")
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    try:
        parser.read_string(text)
    except configparser.Error as error:
        line = getattr(error, "lineno", None)
        at = f" (line {line})" if isinstance(line, int) else ""
        raise Unwritable(f"{path} is no configuration of rclone's{at}") from None
    return {name: dict(parser.items(name)) for name in parser.sections()}


def sections_of(name: str, configuration: Configuration) -> tuple[Section, ...]:
    """The remote, as our main section, and those that it wraps. Raises Unwritable."""
    made: list[Section] = []
    ours = MAIN
    for depth in range(_DEPTH):
        remote = configuration.get(name)
        if remote is None:
            raise Unwritable(f"it leads to a remote {name!r}, which is not there")
        parameters = dict(remote)
        kind = parameters.pop("type", "")
        if kind not in _WRAPPERS:
            if kind in REFUSED:
                raise Unwritable(f"its type {kind!r} is not read from here")
            made.append(section(ours, kind, parameters))
            return tuple(made)
        leads = _REFERENCE.fullmatch(parameters.get("remote", ""))
        if leads is None:
            raise Unwritable(f"its type {kind!r} leads to this machine's disk, or to no one remote")
        inner = f"{MAIN}{depth + 1}"
        parameters["remote"] = f"{inner}:{leads['path']}"
        made.append(section(ours, kind, parameters))
        ours, name = inner, leads["name"]
    raise Unwritable("it leads through too many other remotes, or to itself")
