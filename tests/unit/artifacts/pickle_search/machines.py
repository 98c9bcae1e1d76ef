"""Carries out pickles on the standard library's two machines, and tells whether they would have called anything."""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Callable
from typing import Final, NoReturn

_WORD: Final = re.compile(r"\S+")
# The machine in C takes 16 bytes of memory for each number up to the one that it remembers something by.
_MOST_REMEMBERED: Final = 100_000


class Called(Exception):
    """What was looked up has been called, or told to change."""


class _Meta(type):
    def __call__(cls, *args: object, **kwargs: object) -> NoReturn:
        raise Called

    def append(cls, value: object) -> NoReturn:
        raise Called

    def extend(cls, values: object) -> NoReturn:
        raise Called

    def add(cls, value: object) -> NoReturn:
        raise Called

    def __setitem__(cls, key: object, value: object) -> NoReturn:
        raise Called

    def __setstate__(cls, state: object) -> NoReturn:
        raise Called


class Anything(metaclass=_Meta):
    """Stands for all that a pickle looks up."""

    def __new__(cls, *args: object, **kwargs: object) -> NoReturn:
        raise Called


def _looked_up(module: str, name: str) -> object:
    if not (_WORD.fullmatch(module) and _WORD.fullmatch(name)):
        raise ImportError
    return Anything


class _InC(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> object:
        return _looked_up(module, name)


class _InPython(pickle._Unpickler):
    def find_class(self, module: str, name: str) -> object:
        return _looked_up(module, name)


def call(program: bytes) -> bool:
    """Whether one of the two comes to a call."""
    remembered = (program[at + 1 : at + 5] for at, code in enumerate(program) if code == ord("r"))
    huge = any(int.from_bytes(each, "little") > _MOST_REMEMBERED for each in remembered)
    return _calls(lambda: _InPython(io.BytesIO(program)).load()) or (
        not huge and _calls(lambda: _InC(io.BytesIO(program)).load())
    )


def _calls(load: Callable[[], object]) -> bool:
    try:
        load()
    except Called:
        return True
    except Exception:
        return False
    return False
