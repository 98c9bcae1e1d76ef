"""Tells by its bytes whether something is a pickle, without running it.

A pickle is a program for a machine with a stack. From protocol 2 on it begins with its number, but need not: who means
harm leaves it out, as protocols 0 and 1 do, of which any first byte may be one. So the instructions are followed one by
one, with the kinds of what would lie on the stack, until one could not be carried out, or until it is clear:

- something is called, or looked up where the protocol's number came first: that is code, whatever follows;
- the program ends with one value, as every pickle does; what begins without a number must end with the file, or have
  looked something up, since "N.B." alone would be one;
- it goes on for longer than any text would by chance.

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
_LONGEST: Final = 4096
_NEWEST: Final = 5
_OPCODES: Final = {ord(each.code): each for each in pickletools.opcodes}
_LENGTHS: Final = {
    pickletools.TAKEN_FROM_ARGUMENT1: 1,
    pickletools.TAKEN_FROM_ARGUMENT4: 4,
    pickletools.TAKEN_FROM_ARGUMENT4U: 4,
    pickletools.TAKEN_FROM_ARGUMENT8U: 8,
}
# What may lie on the stack: a mark, a tuple, what was looked up or made by a call, anything else.
_MARK: Final = "mark"
_TUPLE: Final = "tuple"
_THING: Final = "thing"
_PLAIN: Final = "plain"
_LOOKS_UP: Final = frozenset(("GLOBAL", "STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"))
_CALLS: Final = frozenset(("REDUCE", "NEWOBJ", "NEWOBJ_EX", "OBJ", "INST"))
# What they change may be anything: `sys.path`, which was looked up, as well as a list that the pickle made.
_CHANGES: Final = frozenset(("APPEND", "APPENDS", "SETITEM", "SETITEMS", "ADDITEMS", "BUILD"))
_REMEMBERS: Final = frozenset(("PUT", "BINPUT", "LONG_BINPUT"))
_RECALLS: Final = frozenset(("GET", "BINGET", "LONG_BINGET"))
_TUPLES: Final = frozenset(("TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_TUPLE"))
_NUMBERS: Final = frozenset(("INT", "LONG", "PUT", "GET"))
_STACK_SLICE: Final = pickletools.stackslice
_NUMBER: Final = re.compile(rb"\s*[-+]?\d\w*\s*")
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
        self._numbered = False
        self._looked_up = False
        self._stopped = False

    def run(self) -> bool:
        """Raises _Invalid for what is no pickle."""
        others = lines = 0
        while others < _MOST and lines < _MOST_LINES:
            code = self._stream.read(1)
            if not code:
                return self._stopped
            opcode = _OPCODES.get(code[0])
            if opcode is None:
                raise _Invalid
            if self._step(opcode, first=not others + lines):
                return True
            if opcode.name in _LINES:
                lines += 1
            else:
                others += 1
        return True

    def _step(self, opcode: pickletools.OpcodeInfo, *, first: bool) -> bool:
        """Whether it is clear now that this is a pickle."""
        name = opcode.name
        argument = self._argument(opcode)
        self._stopped = name == "STOP"
        if name == "PROTO":
            self._require(argument <= _NEWEST)
            self._numbered = self._numbered or first
            return False
        if name == "STOP":
            self._pop()
            # What is left there, nobody looks at.
            self._stack.clear()
            return self._numbered or self._looked_up
        if name in _CHANGES:
            called = self._change(opcode)
        elif name in _CALLS:
            called = self._call(name)
        else:
            called = False
            self._move(opcode, argument)
        self._looked_up = self._looked_up or name in _LOOKS_UP
        return called or (self._numbered and name in _LOOKS_UP)

    def _argument(self, opcode: pickletools.OpcodeInfo) -> int:
        """The number that follows an instruction, or 0; what else follows is passed over."""
        if opcode.arg is None:
            return 0
        length = opcode.arg.n
        if length == pickletools.UP_TO_NEWLINE:
            return self._lines(opcode.name)
        if length >= 0:
            return self._number(length)
        self._require(self._stream.skip(self._number(_LENGTHS[length])))
        return 0

    def _number(self, length: int) -> int:
        data = self._stream.read(length)
        self._require(len(data) == length)
        return int.from_bytes(data, "little")

    def _lines(self, name: str) -> int:
        line = self._line()
        if name in _NUMBERS:
            self._require(bool(_NUMBER.fullmatch(line)))
            if name in _REMEMBERS or name in _RECALLS:
                self._require(line.strip().isdigit())
                return int(line)
        elif name == "FLOAT":
            try:
                float(line)
            except ValueError:
                raise _Invalid from None
        elif name == "STRING":
            self._require(len(line) >= 2 and line[:1] == line[-1:] and line[:1] in b"'\"")
        elif name in _LOOKS_UP:
            self._require(bool(_WORD.fullmatch(line)) and bool(_WORD.fullmatch(self._line())))
        return 0

    def _line(self) -> bytes:
        line = self._stream.line(_LONGEST)
        if line is None:
            raise _Invalid
        return line

    def _call(self, name: str) -> bool:
        """Whether something that was looked up is called."""
        if name == "INST":
            self._pop_to_mark()
            called = True
        elif name == "OBJ":
            inside = self._pop_to_mark()
            called = inside[:1] == [_THING]
        else:
            arguments = [self._pop() for _ in range(2 if name == "NEWOBJ_EX" else 1)][-1]
            called = self._pop() == _THING and arguments in (_TUPLE, _THING)
        self._require(called)
        return called

    def _change(self, opcode: pickletools.OpcodeInfo) -> bool:
        """Whether something that was looked up is changed: its own code does that."""
        if _STACK_SLICE in opcode.stack_before:
            self._pop_to_mark()
        else:
            for _ in opcode.stack_before[1:]:
                self._pop()
        changed = self._pop()
        self._stack.append(changed)
        return changed == _THING

    def _move(self, opcode: pickletools.OpcodeInfo, argument: int) -> None:
        name = opcode.name
        if name == "POP":
            self._require(bool(self._stack))
            self._stack.pop()
        elif name == "DUP":
            top = self._pop()
            self._stack += [top, top]
        elif name == "MARK":
            self._stack.append(_MARK)
        elif name in _REMEMBERS or name == "MEMOIZE":
            top = self._pop()
            self._stack.append(top)
            self._memo[len(self._memo) if name == "MEMOIZE" else argument] = top
        elif name in _RECALLS:
            self._require(argument in self._memo)
            self._stack.append(self._memo[argument])
        else:
            if _STACK_SLICE in opcode.stack_before:
                self._pop_to_mark()
            else:
                for _ in opcode.stack_before:
                    self._pop()
            if opcode.stack_after:
                made = _TUPLE if name in _TUPLES else _PLAIN
                self._stack.append(_THING if name in _LOOKS_UP else made)

    def _pop(self) -> str:
        if not self._stack or self._stack[-1] == _MARK:
            raise _Invalid
        return self._stack.pop()

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
