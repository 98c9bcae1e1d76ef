"""Tells by its bytes whether something is a pickle, without running it.

A pickle is a program for a machine with a stack. From protocol 2 on it begins with its number, but need not: who means
harm leaves it out, as protocols 0 and 1 do, of which any first byte may be one. So the instructions are followed one by
one, with the kinds of what would lie on the stack, until one could not be carried out, or until it is clear:

- something that may be code is called or changed, or looked up behind a protocol's number: that is code, whatever
  follows;
- the program ends with one value, as every pickle does; what has no number must end with the file, or have looked
  something up, since "N.B." alone would be one;
- it goes on for longer than any text would by chance.

There are several machines: the standard library's in C and its other one in Python, which joblib's is made of, and
torch's. "Could not be carried out" holds for all of them, to whatever each lets pass: lines with a zero byte and
anything behind it, arguments that are no tuple, a last line without its end. In doubt an instruction is carried out,
and what the machines would read differently is a pickle.

The table of instructions is that of pickletools. Its readers take as much memory as the file says: they are not used.
"""

from __future__ import annotations

import pickletools
import re
from typing import Final

from overbook.artifacts.pickle_search.streams import Stream

# Instructions that are followed: a tenth of a second. Lines that begin with P or V are texts to a pickle, and many a
# table has nothing else: they count less.
_MOST: Final = 100_000
_MOST_LINES: Final = 2_000_000
_LINES: Final = frozenset(("UNICODE", "PERSID"))
# Bytes of a line that are looked at; a longer one is taken for whatever it should be.
_LONGEST: Final = 4096
_NEWEST: Final = 5
_OPCODES: Final = {ord(each.code): each for each in pickletools.opcodes}
_LENGTHS: Final = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
# What may lie on the stack: a mark, what was looked up or comes from elsewhere, and what no machine could call.
_MARK: Final = "mark"
_THING: Final = "thing"
_PLAIN: Final = "plain"
_LOOKS_UP: Final = frozenset(("GLOBAL", "STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"))
# The instruction that begins a frame, with the length.
_FRAME_BYTES: Final = 9
_NAMES: Final = frozenset(("GLOBAL", "INST"))
# What torch's persistent ids lead to may have been looked up. Its ids are tuples: those that are lines lead nowhere.
_THINGS: Final = _LOOKS_UP | {"BINPERSID"}
_CALLS: Final = frozenset(("REDUCE", "NEWOBJ", "NEWOBJ_EX", "OBJ", "INST"))
# What they change may be anything: `sys.path`, which was looked up, as well as a list that the pickle made.
_CHANGES: Final = frozenset(("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD"))
_REMEMBERS: Final = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))
_RECALLS: Final = frozenset(("GET", "BINGET", "LONG_BINGET"))
_STACK_SLICE: Final = pickletools.stackslice
# All that Python takes for a number, and C, where it may begin with a zero.
_NUMBER: Final = re.compile(rb"\s*[-+]?\d\w*\s*L?\s*")
# C sees nothing of a line behind it.
_ZERO: Final = b"\0"
_WORD: Final = re.compile(rb"\S+")


def is_pickle(stream: Stream) -> bool:
    """``stream``: at its beginning. Raises TooMuch, and what reading raises."""
    try:
        return _Program(stream).run()
    except _Invalid:
        return False


class _Invalid(Exception):
    """No machine would carry this out."""


class _Program:
    """One pickle after the other, as far as it has been followed."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._stack: list[str] = []
        self._memo: dict[int, str] = {}
        # Whether something is remembered that is not known here: one pickle may be given the memo of the one before,
        # or a new one.
        self._memo_unsure = False
        self._numbered = False
        self._looked_up = False
        self._stopped = False
        # Where the last frame ends, 0 before any.
        self._frame_end = 0

    def run(self) -> bool:
        """Raises _Invalid for what is no pickle."""
        others = lines = 0
        while others < _MOST and lines < _MOST_LINES:
            begin = self._stream.position
            code = self._stream.read(1)
            if not code:
                return self._stopped
            opcode = _OPCODES.get(code[0])
            if opcode is None:
                raise _Invalid
            try:
                clear = self._step(opcode)
            except _Invalid:
                if self._leaves_frame(begin):
                    return True
                raise
            if clear or self._leaves_frame(begin):
                return True
            if opcode.name in _LINES:
                lines += 1
            else:
                others += 1
        return True

    def _leaves_frame(self, begin: int) -> bool:
        """Whether what began there has gone beyond the end of its frame.

        No pickler writes that, and C passes over the rest of the frame where it reads a file: what it does next cannot
        be told.
        """
        return begin < self._frame_end < self._stream.position

    def _step(self, opcode: pickletools.OpcodeInfo) -> bool:
        """Whether it is clear now that this is a pickle."""
        name = opcode.name
        if name in _NAMES:
            return self._look_up(name)
        argument = self._argument(opcode)
        self._stopped = name == "STOP"
        if name == "PROTO":
            self._require(argument is not None and argument <= _NEWEST)
            self._numbered = True
            return False
        if name == "STOP":
            self._pop()
            # What is left there, nobody looks at.
            self._stack.clear()
            self._memo_unsure = True
            return self._numbered or self._looked_up
        if name == "FRAME":
            # Within another one is as good as beyond its end.
            within = self._stream.position - _FRAME_BYTES < self._frame_end
            self._frame_end = self._stream.position + (argument or 0)
            return within
        if name in _CHANGES:
            return self._change(opcode)
        if name in _CALLS:
            self._call(name)
            return True
        self._move(opcode, argument)
        self._looked_up = self._looked_up or name in _LOOKS_UP
        return self._numbered and name in _LOOKS_UP

    def _look_up(self, name: str) -> bool:
        """By a module and what is in it, on a line each. No module has a blank in its name, but many a text has: that
        alone tells nothing.
        """
        self._stopped = False
        words = [_WORD.fullmatch(self._line()) for _ in range(2)]
        likely = self._numbered or all(words)
        self._looked_up = self._looked_up or likely
        calls = name == "INST"
        if calls:
            self._pop_to_mark()
        self._stack.append(_THING)
        return likely and (calls or self._numbered)

    def _argument(self, opcode: pickletools.OpcodeInfo) -> int | None:
        """The number that follows an instruction, None for none or an unknown one; what else follows is passed over."""
        if opcode.arg is None:
            return None
        length = opcode.arg.n
        if length == pickletools.UP_TO_NEWLINE:
            line = self._line()
            return None if len(line) == _LONGEST else self._in_line(opcode.name, line)
        if length >= 0:
            return self._number(length)
        self._require(self._stream.skip(self._number(_LENGTHS[length])))
        return None

    def _number(self, length: int) -> int:
        data = self._stream.read(length)
        self._require(len(data) == length)
        return int.from_bytes(data, "little")

    def _in_line(self, name: str, line: bytes) -> int | None:
        before, zero, _ = line.partition(_ZERO)
        if name in _REMEMBERS or name in _RECALLS:
            try:
                return int(before)
            except ValueError:
                raise _Invalid from None
        if name in ("INT", "LONG"):
            nothing = bool(zero) and not before.strip()
            self._require(nothing or _NUMBER.fullmatch(before) is not None)
        elif name == "FLOAT":
            self._require(_is_float(line) or _is_float(before))
        elif name == "STRING":
            self._require(len(line) >= 2 and line[:1] == line[-1:] and line[:1] in b"'\"")
        return None

    def _line(self) -> bytes:
        line = self._stream.line(_LONGEST)
        if line is None:
            raise _Invalid
        return line

    def _call(self, name: str) -> None:
        """Of what may be code. Its arguments are anything: the machine in Python takes whatever has members."""
        if name == "OBJ":
            self._require(self._pop_to_mark()[:1] == [_THING])
            return
        for _ in range(2 if name == "NEWOBJ_EX" else 1):
            self._pop()
        self._require(self._pop() == _THING)

    def _change(self, opcode: pickletools.OpcodeInfo) -> bool:
        """Whether something that was looked up is changed: its own code does that."""
        if _STACK_SLICE in opcode.stack_before:
            self._pop_to_mark()
        else:
            for _ in opcode.stack_before[1:]:
                self._pop()
        return self._top() == _THING

    def _move(self, opcode: pickletools.OpcodeInfo, argument: int | None) -> None:
        name = opcode.name
        if name == "POP":
            self._require(bool(self._stack))
            self._stack.pop()
        elif name == "DUP":
            self._stack.append(self._top())
        elif name == "MARK":
            self._stack.append(_MARK)
        elif name in _REMEMBERS or name == "MEMOIZE":
            self._remember(len(self._memo) if name == "MEMOIZE" else argument)
        elif name in _RECALLS:
            self._recall(argument)
        elif name == "READONLY_BUFFER":
            self._top()
        else:
            if _STACK_SLICE in opcode.stack_before:
                self._pop_to_mark()
            else:
                for _ in opcode.stack_before:
                    self._pop()
            if opcode.stack_after:
                self._stack.append(_THING if name in _THINGS else _PLAIN)

    def _remember(self, index: int | None) -> None:
        top = self._top()
        if index is None:
            self._memo_unsure = True
        else:
            self._require(index >= 0)
            self._memo[index] = top

    def _recall(self, index: int | None) -> None:
        if self._memo_unsure:
            self._stack.append(_THING)
        elif index is None:
            self._require(bool(self._memo))
            self._stack.append(_THING)
        else:
            self._require(index in self._memo)
            self._stack.append(self._memo[index])

    def _top(self) -> str:
        if not self._stack or self._stack[-1] == _MARK:
            raise _Invalid
        return self._stack[-1]

    def _pop(self) -> str:
        top = self._top()
        self._stack.pop()
        return top

    def _pop_to_mark(self) -> list[str]:
        inside: list[str] = []
        while self._stack:
            top = self._stack.pop()
            if top == _MARK:
                return inside[::-1]
            inside.append(top)
        raise _Invalid

    @staticmethod
    def _require(valid: bool) -> None:
        if not valid:
            raise _Invalid


def _is_float(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
