"""Messages that may or may not be a ModelInferRequest, for all who look for the model's name in one."""

from __future__ import annotations

import random
from typing import Final

from hypothesis import strategies as st

from overbook.manifests.names import MAX_NAME
from overbook.wire.limits import MAX_FIELDS, MAX_SHOWN
from tests.unit.wire.writing import block, number, varint

# Over gRPC.
INVALID_ARGUMENT, NOT_FOUND = 3, 5
_TINY: Final = number(2, 0)
_IRIS: Final = block(1, "iris")
_MALFORMED: Final = INVALID_ARGUMENT, "message: not a ModelInferRequest"
_TOO_MANY: Final = INVALID_ARGUMENT, f"message: more than {MAX_FIELDS} fields"
_EMPTY: Final = INVALID_ARGUMENT, "model_name: empty; name the model in the message"


def _unknown(name: str) -> tuple[int, str]:
    return NOT_FOUND, f"model {name}: not found"


# By what is wrong with it: a message, and the status and the words with which it is refused.
REFUSED: Final[dict[str, tuple[bytes, tuple[int, str]]]] = {
    "nothing": (b"", _EMPTY),
    "no name": (block(5, "x"), _EMPTY),
    "an empty name": (block(1, ""), _EMPTY),
    "an empty name after another": (_IRIS + block(1, ""), _EMPTY),
    "a number for a name": (number(1, 4), _EMPTY),
    "32 bits for a name": (b"\x0diris", _EMPTY),
    "64 bits for a name": (b"\x09irisiris", _EMPTY),
    "ends after a tag": (b"\x0a", _MALFORMED),
    "ends in a tag": (_IRIS + b"\x92", _MALFORMED),
    "ends in a length": (b"\x0a\x84\x80", _MALFORMED),
    "ends in a number": (_IRIS + b"\x10\x80", _MALFORMED),
    "ends in the name": (b"\x0a\x05iris", _MALFORMED),
    "ends in another field": (_IRIS + b"\x12\x7f", _MALFORMED),
    "ends in 32 bits": (_IRIS + b"\x15abc", _MALFORMED),
    "ends in 64 bits": (_IRIS + b"\x11abcdefg", _MALFORMED),
    "a tag of eleven bytes": (b"\x8a" + b"\x80" * 10 + b"\x00", _MALFORMED),
    "a number of eleven bytes": (b"\x10" + b"\xff" * 10 + b"\x01", _MALFORMED),
    "a length of eleven bytes": (b"\x0a\x84" + b"\x80" * 9 + b"\x00iris", _MALFORMED),
    "a length of 64 bits": (b"\x0a" + varint((1 << 64) - 1), _MALFORMED),
    "a length that is 4 in 64 bits": (b"\x0a" + varint(1 << 64 | 4) + b"iris", _MALFORMED),
    "a tag that is 10 in 32 bits": (varint(1 << 32 | 10) + b"\x04iris", _MALFORMED),
    "a tag that is 10 in 64 bits": (varint(1 << 64 | 10) + b"\x04iris", _MALFORMED),
    "the largest tag": (varint((1 << 70) - 1) + _IRIS, _MALFORMED),
    "a field 0": (b"\x02\x04iris" + _IRIS, _MALFORMED),
    "a number in a field 0": (b"\x00\x01" + _IRIS, _MALFORMED),
    "a group": (b"\x13" + _IRIS + b"\x14" + _IRIS, _MALFORMED),
    "an unknown group": (b"\xa3\x06\xa4\x06" + _IRIS, _MALFORMED),
    "the end of a group": (_IRIS + b"\x0c", _MALFORMED),
    "wire type 6": (_IRIS + b"\x0e", _MALFORMED),
    "wire type 7": (_IRIS + b"\x0f", _MALFORMED),
    "text": (b'{"model_name": "iris"}', _MALFORMED),
    "too many fields": (_IRIS + _TINY * MAX_FIELDS, _TOO_MANY),
    "too many, and then nonsense": (_TINY * MAX_FIELDS + b"\x0f", _TOO_MANY),
    "nonsense in the last that counts": (_TINY * (MAX_FIELDS - 1) + b"\x0f", _MALFORMED),
    "a name one too long": (block(1, "m" * (MAX_NAME + 1)), _unknown("m" * (MAX_NAME + 1))),
    "a long name": (block(1, "m" * 5000), _unknown("m" * MAX_SHOWN)),
    "a long name of one that is there": (
        block(1, "iris" + "\0" * 2000),
        _unknown("iris" + "?" * (MAX_SHOWN - 4)),
    ),
    "a long name far in": (block(7, "x" * 700) + block(1, "m" * 700), _unknown("m" * MAX_SHOWN)),
    "a space": (block(1, "my iris"), _unknown("my iris")),
    "a hyphen at its start": (block(1, "-iris"), _unknown("-iris")),
    "a dot at its start": (block(1, ".iris"), _unknown(".iris")),
    "a path": (block(1, "../iris"), _unknown("../iris")),
    "not UTF-8": (block(1, b"ir\xff\xfes"), _unknown("ir??s")),
    "half a character": (block(1, b"iris\xc3"), _unknown("iris?")),
    "other letters": (block(1, "iris-é"), _unknown("iris-??")),
    "control characters": (block(1, "iris\x1b[2J\n\x7f\0"), _unknown("iris?[2J???")),
    "a good name and then a bad one": (_IRIS + block(1, "iris/"), _unknown("iris/")),
}

# Messages that name iris, crooked as they are.
NAMED: Final[dict[str, bytes]] = {
    "the last name": block(1, "wine") + _IRIS,
    "the last of many": block(1, "wine") * 300 + _IRIS,
    "an impossible name before": block(1, b"\xff" * 3000) + _IRIS,
    "a name in front of much": _IRIS + block(7, "x" * 5000),
    "a name behind much": block(7, "x" * 5000) + _IRIS,
    "a tag with spare bytes": varint(10, 9) + b"\x04iris",
    "a length with spare bytes": b"\x0a" + varint(4, 9) + b"iris",
    "a number of ten bytes": b"\x10" + b"\xff" * 9 + b"\x7f" + _IRIS,
    "fields of every kind": number(100, 300)
    + b"\xa1\x06"
    + b"8" * 8
    + b"\xa5\x06"
    + b"4" * 4
    + _IRIS,
    "the highest field": varint((1 << 32) - 6) + b"\x01x" + _IRIS,
    "as many fields as may be": _TINY * (MAX_FIELDS - 1) + _IRIS,
}

_NAMES: Final = st.one_of(
    st.sampled_from(
        ["iris", "wine", "m" * MAX_NAME, "m" * (MAX_NAME + 1), "", "-", "a-", "Iris", "a.b", "é"]
    ),
    st.text("ab-0A_é漢\0 ~\x7f", max_size=MAX_SHOWN + 3),
    st.binary(max_size=MAX_SHOWN + 3),
    st.integers(400, 1100).map(lambda length: "m" * length),
)
_NUMBERS: Final = st.one_of(
    st.integers(0, 200),
    st.integers(0, (1 << 70) - 1),
    st.integers(-3, 3).map(lambda n: (1 << 64) + n),
)
_SPARE: Final = st.one_of(st.just(0), st.integers(0, 9))
_TAGS: Final = st.one_of(
    st.integers(0, 127),
    st.integers(0, (1 << 70) - 1),
    st.integers(-9, 20).map(lambda n: (1 << 32) + n),
)
_PIECES: Final = st.one_of(
    st.builds(block, st.just(1), _NAMES),
    st.builds(block, st.integers(2, 1000), st.binary(max_size=40)),
    # As long as what the script in Envoy reads at once, more or less.
    st.integers(480, 530).map(lambda length: block(7, b"\x0a" * length)),
    st.builds(
        lambda tag, value, spare: varint(tag, spare) + varint(value), _TAGS, _NUMBERS, _SPARE
    ),
    st.builds(lambda length, spare: b"\x0a" + varint(length, spare) + b"iris", _NUMBERS, _SPARE),
    st.builds(lambda tag, content: varint(tag) + content, _TAGS, st.binary(max_size=12)),
    st.binary(max_size=20),
)
_WHOLE: Final = st.lists(_PIECES, max_size=8).map(b"".join)
# Some are cut off somewhere.
MESSAGES: Final = st.one_of(
    _WHOLE, st.builds(lambda whole, end: whole[:end], _WHOLE, st.integers(0, 700))
)

# What was thought of above, where it is short enough to be changed by the thousand; of two models that there are.
_GOOD: Final = (*(each for each in NAMED.values() if len(each) < 2000), block(1, "wine"))
_BAD: Final = tuple(message for message, _ in REFUSED.values() if len(message) < 2000)
# Where numbers end, and where they are more than others take.
_ODD_BYTES: Final = (0, 1, 2, 8, 9, 0x0A, 0x0B, 0x0C, 0x0D, 0x12, 0x3A, 0x7F, 0x80, 0x8A, 0xFF)


def mutated(seed: int) -> bytes:
    """One of those messages, or several, changed a little. The same for the same seed."""
    choose = random.Random(seed)
    message = bytearray(choose.choice(choose.choice((_GOOD, _GOOD, _GOOD, _BAD))))
    for _ in range(choose.choice((1, 1, 1, 2, 4))):
        at = choose.randrange(len(message) + 1)
        end = min(len(message), at + choose.choice((0, 1, 1, 2, 5, 20)))
        match choose.randrange(9):
            case 0:
                odd = choose.choices(_ODD_BYTES, k=choose.choice((0, 1, 1, 2, 9)))
                message[at:end] = bytes(odd)
            case 1:
                message[at:end] = choose.randbytes(end - at)
            case 2:
                message[at:at] = choose.choice(_GOOD + _BAD)
            case 3:
                message[at:at] = message[at:end] * choose.choice((1, 2, 50))
            case 4:
                largest = 1 << choose.randrange(1, 71)
                message[at:at] = varint(choose.randrange(largest), choose.randrange(3))
            case 5:
                del message[at:end]
            case 6:
                message[:0] = choose.choice(_GOOD)
            case 7:
                message += choose.choice(_GOOD + _BAD)
            case _:
                message += block(choose.randrange(1, 40), choose.randbytes(choose.randrange(600)))
    return bytes(message)
