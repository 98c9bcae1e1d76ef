"""Reads the examples of a page: what is typed or run, and the answer that is shown below it.

An example is a fenced block. ``console``: lines that begin with ``$`` are typed, one after the other, and what follows
each is its answer. ``python``: a program, whose output is the ``text`` block that follows. A block whose fence goes on
with a path after its language is a file of the reader's, with that content. What else is fenced is for reading, and has
to say so (``yaml``, ``json``, ``bash``).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_BLOCK = re.compile(r"^```(\w*)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FOR_READING = ("yaml", "json", "bash")
# What a page shows of a number with a point.
_DIGITS = 1e-4
# In a shown answer: whatever stands there.
_ANY = "…"


@dataclass(frozen=True, slots=True)
class Example:
    """``line``: of the page. ``kind``: console, python or file.

    ``run``: what is typed, or the content of the file. ``answer``: what is shown below it, or the file's path.
    """

    line: int
    kind: str
    run: str
    answer: str


def examples(page: Path) -> list[Example]:
    """All of a page. Raises ValueError for a block that is none and not for reading."""
    text = page.read_text(encoding="utf-8")
    return list(_examples(text))


def _examples(text: str) -> Iterator[Example]:
    program: tuple[int, str] | None = None
    for found in _BLOCK.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        kind, path, content = found.groups()
        if program is not None and kind != "text":
            raise ValueError(f"line {program[0]}: no text with its output follows")
        match kind:
            case _ if path is not None:
                yield Example(line, "file", content, path)
            case "python":
                program = line, content
            case "text":
                if program is None:
                    raise ValueError(f"line {line}: text, but no python above it")
                yield Example(program[0], "python", program[1], content)
                program = None
            case "console":
                yield from _typed(line, content)
            case _ if kind not in _FOR_READING:
                raise ValueError(f"line {line}: {kind!r}; expected console, python, text or yaml")
    if program is not None:
        raise ValueError(f"line {program[0]}: no text with its output follows")


def _typed(line: int, content: str) -> Iterator[Example]:
    begun, command, answer = line, "", list[str]()
    goes_on = False
    for number, each in enumerate(content.splitlines(), start=line + 1):
        if goes_on:
            command += f"\n{each}"
        elif each.startswith("$ "):
            if command:
                yield Example(begun, "console", command, "\n".join(answer))
            begun, command, answer = number, each[2:], []
        elif command:
            answer.append(each)
        else:
            raise ValueError(f"line {number}: an answer, but no command above it")
        # A command ends where its quotes are closed and no backslash says that it goes on.
        goes_on = not answer and (command.count("'") % 2 == 1 or command.endswith("\\"))
    yield Example(begun, "console", command, "\n".join(answer))


def is_answer(shown: str, found: str) -> bool:
    """Whether that is what the page shows: JSON by its values, its numbers as far as a page has them, and all else by
    its words. ``…`` is anything.
    """
    try:
        return _fits(json.loads(shown), json.loads(found))
    except ValueError:
        pattern = r"\s+".join(re.escape(word).replace(_ANY, ".*") for word in shown.split())
        return re.fullmatch(rf"\s*{pattern}\s*", found, re.DOTALL) is not None


def _fits(shown: Any, found: Any) -> bool:
    if isinstance(shown, dict) and isinstance(found, dict):
        return shown.keys() == found.keys() and all(_fits(shown[k], found[k]) for k in shown)
    if isinstance(shown, list) and isinstance(found, list):
        return len(shown) == len(found) and all(map(_fits, shown, found))
    if isinstance(shown, float) and isinstance(found, float):
        return math.isclose(shown, found, rel_tol=_DIGITS)
    return bool(shown in (_ANY, found))
