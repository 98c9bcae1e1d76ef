r"""Text of others without what a terminal would obey. Pure.

What models, files and servers say is stored and shown to people, and may hold sequences that move the cursor, rename
the window or write the clipboard. Each part takes them out of what comes in from another, so that whoever asks, with
whatever program, is told none; the command line looks once more.
"""

from __future__ import annotations

import re
from typing import Final

# Colours and moves of the cursor (CSI), titles, links and the clipboard (OSC), and strings for devices (DCS, SOS, PM,
# APC), which end like those: they say nothing, so nothing is left of them.
_SEQUENCE: Final = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"
)
# Control characters but for tab and line feed, and what turns the direction of writing.
CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def plain_text(text: str) -> str:
    r"""The text without escape sequences, and with all other control characters in sight, as `\x07`."""
    if text.isprintable():
        return text
    return CONTROL.sub(lambda found: _escaped(found[0]), _SEQUENCE.sub("", text))


def _escaped(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 256 else f"\\u{number:04x}"
