"""What the readers of archives give, whatever the format. Nothing here is checked yet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

# The kind of one, which no file system has: there it is a file.
HARD_LINK: Final = 0


@dataclass(frozen=True, slots=True)
class Member:
    """``name``: as it is in the archive, without `./` before it and a slash at its end; "" is the whole.

    ``kind``: as `stat.S_IFMT` has it, or `HARD_LINK`. ``target``: of links. ``chunks``: the bytes of a file, to be read
    before the next member is asked for; who does not want them passes them over. ``size``: how many these are, of which
    a damaged archive may have fewer, but none has more.
    """

    name: str
    kind: int
    target: str
    chunks: Iterator[bytes]
    size: int = 0


def plain(name: str, *, folder: bool) -> str:
    """The name without what says nothing: `./` before it, and a slash at the end of a folder's."""
    if folder and name in (".", "./"):
        return ""
    name = name.removeprefix("./")
    return name.removesuffix("/") if folder else name
