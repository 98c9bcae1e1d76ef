"""One command of a story, taken apart: its name, then places without a name and places with one (``key=value``)."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Mapping
from typing import Final

from overbook.residency.events import ModelName

_YES_NO: Final = {"yes": True, "no": False}


class WrongCommand(Exception):
    """The command does not say what it should; the message says why."""


def seconds(text: str) -> float:
    """It reads ``2.5s``; ``inf`` is for ever."""
    try:
        return math.inf if text == "inf" else float(text.removesuffix("s"))
    except ValueError:
        raise WrongCommand(f"'{text}': expected seconds, such as 2.5s") from None


def whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise WrongCommand(f"'{text}': expected a whole number") from None


def sized(text: str) -> tuple[ModelName, int]:
    """It reads ``a:4``, a model and its bytes."""
    name, colon, size = text.partition(":")
    if not colon:
        raise WrongCommand(f"'{text}': expected a model and its bytes, such as a:4")
    return ModelName(name), whole(size)


class Arguments:
    """Each is taken once; `end` fails when one is left over, so that none is misspelt unseen."""

    def __init__(self, name: str, unnamed: Iterable[str], named: Mapping[str, str]) -> None:
        self.name = name
        self._unnamed = list(unnamed)
        self._named = dict(named)

    @classmethod
    def of(cls, command: str) -> Arguments:
        try:
            name, *words = shlex.split(command)
        except ValueError as error:
            raise WrongCommand(f"{error}") from None
        named = dict(word.split("=", 1) for word in words if "=" in word)
        return cls(name, (word for word in words if "=" not in word), named)

    def one_by_one(self) -> list[Arguments]:
        """The same command for each of the models or requests that it names, or once if it names none."""
        if not self._unnamed:
            return [self]
        return [Arguments(self.name, (word,), self._named) for word in self._unnamed]

    def next(self, what: str) -> str:
        if not self._unnamed:
            raise WrongCommand(f"'{self.name}': expected {what}")
        return self._unnamed.pop(0)

    def rest(self) -> list[str]:
        found, self._unnamed = self._unnamed, []
        return found

    def model(self) -> ModelName:
        return ModelName(self.next("a model"))

    def named(self) -> dict[str, str]:
        """All that are left with a name."""
        found, self._named = self._named, {}
        return found

    def text(self, name: str, default: str) -> str:
        return self._named.pop(name, default)

    def number(self, name: str, default: int) -> int:
        return whole(self._named.pop(name, str(default)))

    def must_number(self, name: str) -> int:
        if name not in self._named:
            raise WrongCommand(f"'{self.name}': expected {name}=…")
        return whole(self._named.pop(name))

    def number_if_said(self, name: str) -> int | None:
        said = self._named.pop(name, None)
        return None if said is None else whole(said)

    def seconds(self, name: str, default: float) -> float:
        said = self._named.pop(name, None)
        return default if said is None else seconds(said)

    def seconds_if_said(self, name: str) -> float | None:
        said = self._named.pop(name, None)
        return None if said is None else seconds(said)

    def flag(self, name: str, default: bool = False) -> bool:
        said = self._named.pop(name, None)
        if said is None:
            return default
        if said not in _YES_NO:
            raise WrongCommand(f"'{name}={said}': expected yes or no")
        return _YES_NO[said]

    def end(self) -> None:
        left = [*self._unnamed, *(f"{name}={said}" for name, said in self._named.items())]
        if left:
            raise WrongCommand(f"'{self.name}' does not know '{left[0]}'")
