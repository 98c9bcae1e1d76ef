"""The errors that this package shows to others, told apart by what whoever catches them does next."""

from __future__ import annotations

from enum import Enum
from typing import Final

# Characters of a message; what is longer was not written by us.
_LONGEST: Final = 2000
# Seconds after which a source is asked again, however long it wants to be left alone.
LONGEST_RETRY_AFTER: Final = 3600.0


class ArtifactError(Exception):
    """The artifact could not be brought here. One line: what, why, and what to do about it.

    Words of servers and names of files may be in ``message``. What would move a cursor, turn the direction of writing
    or break a line is made visible here, for all sources, before anything keeps or shows it.
    """

    def __init__(self, message: str) -> None:
        super().__init__(_visible(message))


class Trouble(Enum):
    """What is wrong with a source, for people and for who decides whether to ask again."""

    NOT_FOUND = "not found"
    NOT_ALLOWED = "not allowed"
    BAD_SECRET = "bad secret"
    BAD_ADDRESS = "bad address"
    REFUSED = "refused"  # by a rule of ours: where it leads, or what it holds
    NOT_TRUSTED = "not trusted"  # TLS that does not verify
    NOT_INSTALLED = "not installed"
    UNREACHABLE = "unreachable"
    BUSY = "busy"  # it asks to come later
    CHANGED = "changed"  # while it was copied
    DAMAGED = "damaged"  # other bytes, or another length, than it said
    NO_SPACE = "no space"
    TOO_SLOW = "too slow"  # it brings next to nothing while others wait for their turn
    GAVE_WAY = "gave way"  # others had their turn


# What another try may find otherwise without anybody doing anything.
PASSING = frozenset(
    {
        Trouble.UNREACHABLE,
        Trouble.BUSY,
        Trouble.CHANGED,
        Trouble.DAMAGED,
        Trouble.NO_SPACE,
        Trouble.TOO_SLOW,
        Trouble.GAVE_WAY,
    }
)


class SourceError(ArtifactError):
    """A source could not be asked, or did not give what it said. ``retry_after``: seconds, where it named some."""

    def __init__(self, trouble: Trouble, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.trouble = trouble
        self.retry_after = retry_after

    @property
    def passing(self) -> bool:
        """Whether the same may succeed later; else somebody has to change something first."""
        return self.trouble in PASSING


class Postponed(SourceError):
    """It is not the fetch's turn now, and will be without anybody doing anything: no failure."""


class NoRoomYet(Postponed):
    """There is no room on the disk now, and there will be as soon as those who use it are done."""

    def __init__(self, message: str) -> None:
        super().__init__(Trouble.NO_SPACE, message)


class GaveWay(Postponed):
    """The fetch gave its turn to another; it is gone on with later."""

    def __init__(self, message: str) -> None:
        super().__init__(Trouble.GAVE_WAY, message)


def _visible(text: str) -> str:
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    number = ord(character)
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
