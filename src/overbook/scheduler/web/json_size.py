"""How much is in a JSON text, counted before anything is built of it. Pure.

A text of 60 MB may hold 20 million empty objects, which take 10 GB and minutes once they are Python's. Counting takes
some passes of C over the bytes instead, and says nothing about whether the text is JSON: who parses it does.
"""

from __future__ import annotations

from itertools import accumulate
from typing import Final

_STEPS: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKETS: Final = bytes(each for each in range(256) if each not in _STEPS)
# UTF-16 and UTF-32, which parsers take too: they have a zero byte where JSON has none.
_WIDE: Final = b"\0"


def excess(text: bytes | bytearray, *, values: int, depth: int) -> str:
    """What the text has too much of, for people; "" when there are at most ``values`` scalars, lists and objects, at
    most ``depth`` deep. Commas are counted, so an object that is empty counts twice.
    """
    if _WIDE in text:
        return "is not JSON in UTF-8"
    # A comma or a bracket in a string counts here, too: few of them need no closer look.
    if _values(text) <= min(values, depth):
        return ""
    bare = text.replace(b"\\\\", b"").replace(b'\\"', b"")
    too_many = f"has more than {values} values"
    # Each string is a value or the name of one. More of them are not taken apart.
    if bare.count(b'"') > 4 * values:
        return too_many
    bare = b"".join(bare.split(b'"')[::2])
    if _values(bare) > values:
        return too_many
    brackets = bare.translate(None, _NO_BRACKETS)
    if max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > depth:
        return f"is more than {depth} deep"
    return ""


def _values(text: bytes | bytearray) -> int:
    """At least as many as there are: one, one more after each comma, and the first in each list or object."""
    return 1 + text.count(b",") + sum(text.count(each) for each in (b"[", b"{"))
