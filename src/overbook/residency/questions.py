"""What an inference server that counts is being asked about models in use, and which of its answers still hold.

A model that somebody waits for is asked about once at a time: is anything of it in flight? The answer holds for the
moment in which it was given and travels back after that. It is worth nothing if more was heard meanwhile of what it was
asked for: that another request was let through, or that a meter saw one in flight. Then the question is asked again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from overbook.residency.events import ModelName

# Open at once, whoever waits. More than models are awaited at a time.
_MOST: Final = 16

# How many requests each gateway is known to have let through to the model.
PassedOn = Callable[[ModelName], Mapping[str, int]]


class Question(NamedTuple):
    """``passed``: by gateway, requests that must have arrived before the model may be called idle."""

    model: ModelName
    passed: Mapping[str, int]


@dataclass(slots=True)
class _Open:
    passed: Mapping[str, int]
    outdated: bool = False


class Questions:
    """Of one inference server."""

    def __init__(self, passed_on: PassedOn) -> None:
        self._passed_on = passed_on
        self._open: dict[ModelName, _Open] = {}

    def begin(self, awaited: Iterable[ModelName]) -> list[Question]:
        """What is to be asked now. Each question stays open until `answered`."""
        begun: list[Question] = []
        for model in awaited:
            if model not in self._open and len(self._open) < _MOST:
                passed = self._passed_on(model)
                self._open[model] = _Open(passed)
                begun.append(Question(model, passed))
        return begun

    def busy(self, model: ModelName) -> None:
        """A meter saw requests in flight: an answer to what was asked before that says nothing."""
        asked = self._open.get(model)
        if asked is not None:
            asked.outdated = True

    def answered(self, model: ModelName) -> bool:
        """The question has ended. Whether an answer holds that nothing is in flight."""
        asked = self._open.pop(model)
        return not asked.outdated and asked.passed == self._passed_on(model)

    def void(self) -> None:
        """The server is gone, and with it whatever it was asked."""
        self._open.clear()
