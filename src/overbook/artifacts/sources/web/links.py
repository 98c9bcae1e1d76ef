"""Which addresses a page of HTML links to: the href of each `<a>`, in one pass over the page. Pure.

No parser of trees: Python's own begins anew at every tag that is not closed, so that a small page of such tags takes
it minutes. Here whatever is not closed ends the page, every expression takes what it has taken for good (`*+`), and
the next search begins where the last one ended: the time is that of reading the page once, whatever is in it. What is
done in Python itself, for each tag and attribute, is counted, and ends at a number.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Final

# Longer than any address that a server takes.
LONGEST: Final = 8 * 1024
# Tags and attributes: ten for each of as many files as are ever listed, twice over.
_MOST: Final = 400_000

# What is looked into, and what is passed over whole since its text is no markup.
_OPENING: Final = re.compile(r"<(?:(!--)|(script|style)(?=[\s/>])|a(?=[\s/>]))", re.IGNORECASE)
_ENDS: Final = {
    "!--": re.compile(r"--!?>"),
    "script": re.compile(r"</script(?=[\s/>])", re.IGNORECASE),
    "style": re.compile(r"</style(?=[\s/>])", re.IGNORECASE),
}
_ATTRIBUTE: Final = re.compile(
    r"""[\s/]*+(?P<name>[^\s/>=]++)(?:\s*+=\s*+(?:"(?P<double>[^"]*+)"|'(?P<single>[^']*+)'|(?P<bare>[^\s>"']++)))?+"""
)


class TooMuch(ValueError):
    """A page has more tags and attributes than a list of files has."""

    def __init__(self) -> None:
        super().__init__(f"more than {_MOST} tags and attributes")


def links(page: str) -> Iterator[str]:
    """In their order, as they are meant: with characters in place of `&amp;` and the like. What is longer than
    `LONGEST`, as a picture within the page may be, is left out. Raises TooMuch.
    """
    position = steps = 0
    while (opening := _OPENING.search(page, position)) is not None:
        position = opening.end()
        if (steps := steps + 1) > _MOST:
            raise TooMuch
        if unread := opening[1] or opening[2]:
            end = _ENDS[unread.lower()].search(page, position)
            if end is None:
                return
            position = end.end()
            continue
        while (attribute := _ATTRIBUTE.match(page, position)) is not None:
            position = attribute.end()
            if (steps := steps + 1) > _MOST:
                raise TooMuch
            if attribute["name"].lower() != "href":
                continue
            value = attribute["double"] or attribute["single"] or attribute["bare"] or ""
            if len(value) <= LONGEST and (link := _meant(value)):
                yield link


def _meant(value: str) -> str:
    try:
        return html.unescape(value)
    except ValueError:
        # A number of a character with more digits than Python reads.
        return ""
