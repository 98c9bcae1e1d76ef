"""Whatever one of Python's machines carries out, up to a call, is told to be a pickle."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import joblib
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from overbook.artifacts.pickle_search.programs import is_pickle
from overbook.artifacts.pickle_search.streams import Budget, Stream
from tests.unit.artifacts.pickle_search import machines


def found(program: bytes) -> bool:
    return is_pickle(Stream(io.BytesIO(program), Budget(1 << 30, lambda: None), len(program)))


def _in_c(path: Path) -> None:
    pickle.loads(path.read_bytes())


def _in_c_of_a_file(path: Path) -> None:
    with path.open("rb") as file:
        pickle.load(file)


def _by_joblib(path: Path) -> None:
    joblib.load(path)


# PATH: of the folder that it makes.
_CALL = b"cposix\nmkdir\n(S'PATH'\ntR."
PROGRAMS: dict[str, bytes] = {
    "a number with a sign": b"I1\np+0\n0" + _CALL,
    "a number with a sign behind a protocol": b"\x80\x02I1\np+0\n0" + _CALL,
    "a number with an underscore": b"I1\np1_0\n0" + _CALL,
    "a number with blanks": b"I1\np 0 \n0" + _CALL,
    "a number with a zero byte": b"I1\np0\0x\n0" + _CALL,
    "an integer with a zero byte": b"I1\0x\n0" + _CALL,
    "an integer that is a zero byte": b"I\0x\n0" + _CALL,
    "an octal integer": b"I010\n0" + _CALL,
    "a float with a zero byte": b"F1.5\0x\n0" + _CALL,
    "a long float": b"F1." + b"0" * 4092 + b"e5\n0" + _CALL,
    "a long with a blank": b"L5 L\n0" + _CALL,
    "a long with a blank behind a protocol": b"\x80\x02L5 L\n0" + _CALL,
    "a long text": b"S'" + b"A" * 5000 + b"'\n0" + _CALL,
    "a long text behind a protocol": b"\x80\x02S'" + b"A" * 5000 + b"'\n0" + _CALL,
    "arguments in a list": b"cposix\nmkdir\n(lS'PATH'\naR.",
    "arguments in a list behind a protocol in the midst": b"N0\x80\x04cposix\nmkdir\n(lS'PATH'\naR.",
    "arguments in a dict": b"cposix\nmkdir\n(S'PATH'\nI1\ndR.",
    "arguments in a set": b"cposix\nmkdir\n(S'PATH'\n\x91R.",
    "arguments that were remembered": b"cposix\nmkdir\n(lp0\nS'PATH'\na0g0\nR.",
    "a last line without its end": b"(S'PATH'\niposix\nmkdirX",
    "a second mark": b"(0" + _CALL,
    "a call of what was remembered by a padded number": b"cposix\nmkdir\np007\n0g7\n(S'PATH'\ntR.",
}
# The last instruction of a frame begins in it, and C takes all its bytes from behind it.
PROGRAMS["a frame that is left in the midst"] = (
    b"\x95" + struct.pack("<Q", 20_000) + b"N0" * 9998 + b"G\0\0\0" + b"\xff" * 8 + b"0" + _CALL
)


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_programs_that_a_machine_carries_out(tmp_path: Path, program: bytes) -> None:
    made = tmp_path / "made"
    path = tmp_path / "model"
    path.write_bytes(program.replace(b"PATH", str(made).encode()))
    ran = []
    for load in (_in_c, _in_c_of_a_file, _by_joblib):
        with contextlib.suppress(Exception):
            load(path)
        if made.exists():
            made.rmdir()
            ran.append(load)
    assert ran
    assert found(path.read_bytes())


@pytest.mark.parametrize("first", [b"I1\n.", b"I1\n\x94.", b"\x94"])
@pytest.mark.parametrize("index", range(2))
def test_one_after_the_other_whatever_becomes_of_the_memo(first: bytes, index: int) -> None:
    """A machine may be asked again, with what it remembers, or be another one: each has its own numbers."""
    memo = b"cos\nlink\n\x940(h" + bytes((index,)) + b"I1\no."
    if first.endswith(b"."):
        assert found(first + memo)
    else:
        assert not found(first + memo)


@pytest.mark.parametrize("index", [b"0" * 5000 + b"3", b"9" * 5000])
def test_what_is_remembered_by_a_number_too_long_to_look_at(index: bytes) -> None:
    put, get = b"p" + index + b"\n", b"g" + index + b"\n"
    assert found(b"cos\nlink\n" + put + b"0" + get + b"(I1\ntR")
    assert not found(b"price," + index + b"\nand so on")
    assert not found(b"group," + index + b"\nand so on")


def test_a_call_of_what_torch_finds_by_its_id() -> None:
    assert found(b"(S'module'\ncos\nlink\ntQ)R")
    # Ids that are lines lead nowhere: cities are not code.
    assert not found(b"Paris\nPrague\nRome\n")


def test_a_text_that_joblib_would_carry_out_is_one() -> None:
    """It calls `dog` of the module `at` with what is in the text "an"."""
    text = b"cat\ndog\nVan\nRat\n"
    assert machines.call(text)
    assert found(text)


@pytest.mark.parametrize(
    "text",
    [
        b"cat and dog\nbird\n.gitignore\n",
        b"can it be\nthat nothing\nis called\n",
        b"(item one\nis here)\n",
        b"cat\ndog\nbird\n",
        b"(item",
    ],
)
def test_texts_that_look_something_up_and_call_nothing(text: bytes) -> None:
    assert not machines.call(text)
    assert not found(text)


class Link:
    def __reduce__(self) -> tuple[Callable[[str, str], None], tuple[str, str]]:
        return os.link, ("a", "b")


_PIECES = [
    *(
        b"\x80\x02",
        b"\x80\x04",
        b"\x95\x09" + bytes(7),
        b"N",
        b"\x88",
        b"I1\n",
        b"I 010\n",
        b"I01\n",
    ),
    *(
        b"I\0x\n",
        b"L5 L\n",
        b"L5L\n",
        b"L0x1fL\n",
        b"F1.5\n",
        b"F1.5\0x\n",
        b"F 1_0.5\n",
        b"S'a'\n",
    ),
    *(
        b'S"b"\n',
        b"Vtext\n",
        b"V\n",
        b"U\x01a",
        b"C\x01a",
        b"X\x01\0\0\0a",
        b"\x8c\x02os",
        b"\x8c\x04link",
    ),
    *(b"\x8a\x01\x05", b"M\0\1", b"K\1", b"J" + bytes(4), b"G" + bytes(8), b"\x97", b"\x98"),
    *(
        b"p0\n",
        b"p+0\n",
        b"p1_0\n",
        b"p0\0x\n",
        b"q\0",
        b"\x94",
        b"g0\n",
        b"g 0\n",
        b"g10\n",
        b"h\0",
    ),
    *(
        b"(",
        b"0",
        b"1",
        b"2",
        b")",
        b"]",
        b"}",
        b"\x8f",
        b"l",
        b"d",
        b"t",
        b"\x85",
        b"\x86",
        b"\x87",
    ),
    *(
        b"\x91",
        b"a",
        b"e",
        b"s",
        b"u",
        b"\x90",
        b"b",
        b"cos\nlink\n",
        b"ios\nlink\n",
        b"ios\nlinkx",
    ),
    *(b"\x93", b"R", b"\x81", b"\x92", b"o", b"Q", b"Pid\n", b"."),
]
_CALLS = [b"R", b"\x81", b"}\x92", b"b", b"a", b"(e", b"Ns", b"(Nu", b"(\x90", b"", b"ios\nlinkx"]
_SOME = st.lists(st.sampled_from(_PIECES), max_size=6).map(b"".join)
_MADE = st.tuples(_SOME, st.just(b"cos\nlink\n"), _SOME, st.sampled_from(_CALLS), _SOME).map(
    b"".join
)
_SEEDS = st.sampled_from(
    [
        pickle.dumps(value, protocol)
        for protocol in range(6)
        for value in (Link(), [Link(), {1: "x"}])
    ]
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    program = bytearray(draw(_SOME | _MADE | _SEEDS | st.tuples(_SOME, _SEEDS).map(b"".join)))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(program)))
        # Whole instructions come in; single bytes go, or change.
        program[at : at + draw(st.integers(0, 2))] = draw(
            st.sampled_from([b"", b" ", b"\0", b"\n", b"+", b"0", b"_", *_PIECES])
        )
    return bytes(program)


@given(mutated())
@example(b"(ios\nlinkx")
@example(b"\x95\x04" + bytes(7) + b"NG\0\0" + b"\xff" * 8 + b"cos\nlink\n)R")
@example(b"\x95\x02" + bytes(7) + b"NI" + b"1\n" + b"cos\nlink\n)R")
@example(b"\x95\x0c" + bytes(7) + b"N\x95\x0e" + bytes(7) + b"xx" + b"cos\nlink\n)R.")
def test_what_is_called_is_found(program: bytes) -> None:
    assert found(program) or not machines.call(program)


def test_the_machines_call() -> None:
    """Else the test before this one says nothing."""
    for protocol in range(6):
        assert machines.call(pickle.dumps(Link(), protocol))
        assert not machines.call(pickle.dumps({"weights": [1.0]}, protocol))
    for change in (b"Na", b"(Ne", b"NNs", b"(NNu", b"(N\x90", b"Nb"):
        assert machines.call(b"cos\nlink\n" + change)
        assert not machines.call(b"N" + change)
