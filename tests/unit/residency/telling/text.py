"""The text of stories: what a file of `stories/` holds, and how what was said is written into it anew.

A file holds stories. Each begins with its title, a line after ``===``. Its blocks are commands, a line ``----``, and
what was said, which a blank line ends. A line that begins with ``#`` is for readers, and is not part of what was said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, NoReturn

_TITLE: Final = "==="
_SAID: Final = "----"
# A longer title would not be shown as the name of its test.
_LONGEST_TITLE: Final = 100


class StoryError(Exception):
    """A story cannot be read or told; the message begins with its file and line."""

    def __init__(self, file: str, line: int, why: str) -> None:
        super().__init__(f"{file}:{line}: {why}")


@dataclass(frozen=True, slots=True)
class Command:
    line: int
    text: str


@dataclass(slots=True)
class Block:
    """Commands and what was said of them. ``line``: that of the ``----`` between them."""

    commands: list[Command]
    line: int
    said: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Story:
    title: str
    line: int
    blocks: list[Block] = field(default_factory=list)


class _Reader:
    """Reads one file, line by line."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.stories: list[Story] = []
        self.line = 0
        self._commands: list[Command] = []  # of the block that is being read
        self._said: list[str] | None = None  # None: not within what was said

    def take(self, text: str) -> None:
        self.line += 1
        if self._said is not None:
            if text:
                self._said.append(text)
            else:
                self._said = None
        elif text.startswith(_TITLE):
            self._begin_story(text.removeprefix(_TITLE).strip())
        elif text == _SAID:
            self._end_commands()
        elif not text:
            self._expect_no_commands()
        elif not text.startswith("#"):
            if not self.stories:
                self._fail(f"a command before the first title; a title begins with '{_TITLE} '")
            self._commands.append(Command(self.line, text))

    def end(self) -> list[Story]:
        self._expect_no_commands()
        return self.stories

    def _begin_story(self, title: str) -> None:
        self._expect_no_commands()
        if not 0 < len(title) <= _LONGEST_TITLE:
            self._fail(f"a title has 1 to {_LONGEST_TITLE} characters, not {len(title)}")
        for story in self.stories:
            if story.title == title:
                self._fail(f"the title of line {story.line} again")
        self.stories.append(Story(title, self.line))

    def _end_commands(self) -> None:
        if not self._commands:
            self._fail(f"'{_SAID}' without a command above it")
        block = Block(self._commands, self.line)
        self.stories[-1].blocks.append(block)
        self._commands, self._said = [], block.said

    def _expect_no_commands(self) -> None:
        if self._commands:
            raise StoryError(self.file, self._commands[-1].line, f"no '{_SAID}' below this command")

    def _fail(self, why: str) -> NoReturn:
        raise StoryError(self.file, self.line, why)


def read(file: str, text: str) -> list[Story]:
    """The stories of a file. Raises StoryError."""
    reader = _Reader(file)
    for line in text.splitlines():
        reader.take(line.rstrip())
    return reader.end()


def rewritten(text: str, story: Story, said: Sequence[Sequence[str]]) -> str:
    """The text of the story's file with this said of each of its blocks, and all else as before."""
    lines = text.splitlines()
    for block, anew in reversed(tuple(zip(story.blocks, said, strict=True))):
        lines[block.line : block.line + len(block.said)] = anew
    return "\n".join(lines) + "\n"
