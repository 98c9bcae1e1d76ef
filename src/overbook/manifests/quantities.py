"""Kubernetes quantities of bytes: `100Ki`, `1.5Gi`, `2e9`, `500M`, plain numbers. Arithmetic only."""

from __future__ import annotations

import math
import re
from decimal import Decimal
from typing import Final

from overbook.manifests.problems import shown

MAX_BYTES: Final = 2**63 - 1

_BINARY: Final = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50, "Ei": 2**60}
_DECIMAL: Final = {"k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18}
_MULTIPLES: Final = {"": 1, **_BINARY, **_DECIMAL}
_FRACTIONS: Final = frozenset({"n", "u", "m"})
_NUMBER: Final = re.compile(
    r"\+?(?P<digits>[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE](?P<exponent>[+-]?[0-9]{1,3})|(?P<suffix>[A-Za-z]*))",
    re.ASCII,
)
_EXPECTED: Final = "expected bytes such as 100Ki, 1.5Gi or 2e9"


def parse_bytes(value: str | int | float) -> int:
    """The bytes that a quantity stands for; as in Kubernetes, a fraction of a byte is a whole one.

    Raises ValueError, with a message that names the value, when it is no quantity, negative, made
    of thousandths (`100m`), or above 2^63 - 1.
    """
    if isinstance(value, bool):
        raise ValueError(f"{str(value).lower()} is not a quantity; {_EXPECTED}")
    text = value if isinstance(value, str) else repr(value)
    quoted = shown(value)
    if re.fullmatch(r"-[0-9.].*", text, re.ASCII):
        raise ValueError(f"{quoted} is negative; {_EXPECTED}")
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise ValueError(f"{quoted} is not a quantity; {_EXPECTED}")
    number = Decimal(match["digits"])
    if match["exponent"] is not None:
        exact = number.scaleb(int(match["exponent"]))
    else:
        suffix = match["suffix"]
        if suffix in _FRACTIONS:
            raise ValueError(f"{quoted} is a fraction of a byte; {_EXPECTED}")
        if suffix not in _MULTIPLES:
            raise ValueError(f"{quoted} is not a quantity; {_EXPECTED}")
        exact = number * _MULTIPLES[suffix]
    if exact > MAX_BYTES:
        raise ValueError(f"{quoted} is more than 2^63 - 1 bytes; {_EXPECTED}")
    return math.ceil(exact)


def format_bytes(count: int) -> str:
    """Bytes for people, in binary units and within half a percent: `999B`, `1.5GiB`, `9.54MiB`."""
    if count < 0:
        return f"-{format_bytes(-count)}"
    for suffix, size in reversed(_BINARY.items()):
        # 1023.999MiB would round to 1024MiB: the next unit says it shorter.
        if count >= size or (size > 2**10 and count >= size * 0.9995):
            number = Decimal(count) / size
            exact = count * 100 % size == 0
            return f"{_trimmed(number, 2 if exact or number < 100 else 1)}{suffix}B"
    return f"{count}B"


def amount(count: int) -> str:
    """Bytes for people, readable and to the byte: ``9.54MiB (10000000 bytes)``."""
    return f"{count} bytes" if abs(count) < 2**10 else f"{format_bytes(count)} ({count} bytes)"


def _trimmed(number: Decimal, decimals: int) -> str:
    text = f"{number:.{decimals}f}"
    return text.rstrip("0").rstrip(".")
