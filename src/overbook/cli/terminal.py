"""What may go to a terminal: its width, colour where it is wanted, and nobody else's control characters.

What models, files and servers say is shown, and may hold sequences that move the cursor or rename the window.
"""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from typing import IO, Final

import click

from overbook.manifests.plain_text import CONTROL, plain_text

# Where output goes to a file or a pipe there is no width to fit: nothing is cut.
UNLIMITED: Final = 1_000_000
# Below that, folding makes it harder to read.
_NARROWEST: Final = 20


def safe(text: str) -> str:
    r"""The text without escape sequences, and with all other control characters in sight, as `\x07`."""
    return plain_text(text)


def safe_json(text: str) -> str:
    """JSON that means the same, in which what JSON leaves as it is does no harm to a terminal."""
    if text.isascii() and "\x7f" not in text:
        return text
    return CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def terminal_width() -> int:
    """Columns of the terminal, and no limit when the output is not one."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else UNLIMITED


def coloured(stream: IO[str] | None = None) -> bool:
    """Whether colour is wanted: on a terminal, unless NO_COLOR is set."""
    return (
        (stream or sys.stdout).isatty()
        and not os.environ.get("NO_COLOR")
        and os.environ.get("TERM") != "dumb"
    )


def folded(line: str, width: int, indent: int = 2) -> list[str]:
    """The line in pieces that fit; all but the first are indented. A word that is longer stays whole."""
    if len(line) <= width or width - indent < _NARROWEST:
        return [line]
    return textwrap.wrap(
        line,
        width,
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )


def warn(text: str) -> None:
    """One line on stderr about what does not keep the command from its work."""
    told(f"warning: {safe(text)}", "warning:", "yellow")


def remark(text: str) -> None:
    """One line on stderr about what a command did not do, and what does."""
    told(f"note: {safe(text)}", "note:", "cyan")


def complain(text: str) -> None:
    """One line on stderr about what is wrong with one of several things; the command goes on with the others."""
    told(safe(text), "Error:", "red")


def told(line: str, label: str, colour: str) -> None:
    """A line on stderr, folded on a terminal, with its label in colour where that is wanted."""
    text = line
    if sys.stderr.isatty():
        text = "\n".join(folded(line, shutil.get_terminal_size().columns))
    if coloured(sys.stderr) and text.startswith(label):
        text = click.style(label, fg=colour) + text.removeprefix(label)
    click.echo(text, err=True)
