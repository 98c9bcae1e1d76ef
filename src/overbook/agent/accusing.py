"""Holds what is known of the deaths of one server replica, and says what follows from another one, in words.

The only holder of the last death and of `blame`'s record; the actor asks, and acts by the sentences.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from overbook.agent.blame import Record, Sentence, Suspect, judge
from overbook.agent.deaths import CallKind, Death
from overbook.agent.notices import NOT_AGAIN
from overbook.agent.servers.protocol import PreparedModel

_WHILE: Final = {
    CallKind.LOAD: "while loading it",
    CallKind.REQUEST: "while answering a request for it",
    CallKind.UNLOAD: "while unloading it",
}


@dataclass(frozen=True, slots=True)
class Accusation:
    """A sentence with its ``reason``, for people and for those who wait for the model."""

    sentence: Sentence
    reason: str

    @property
    def final(self) -> bool:
        """Whether only a person, or a change, frees the model."""
        return self.sentence.until == math.inf


class Accuser:
    """Of one server replica."""

    def __init__(self) -> None:
        self._record = Record()
        self.last: Death | None = None

    def died(
        self, death: Death, content: Callable[[str, CallKind], int | None]
    ) -> tuple[Accusation, ...]:
        """``content``: the generation of a model that such a call is about; None when nobody knows it any more."""
        self.last = death
        suspects: dict[Suspect, CallKind] = {}
        for model, kind in death.suspects:
            generation = content(model, kind)
            if generation is not None:
                suspects[Suspect(model, generation)] = kind
        self._record, sentences = judge(self._record, suspects, death.at, ran=death.ran)
        return tuple(Accusation(each, _reason(each, death.reason)) for each in sentences)

    def watched(self, prepared: PreparedModel) -> bool:
        """Whether it is suspected of anything, and therefore loads alone."""
        return self._record.watched(_suspect(prepared))

    def loaded(self, prepared: PreparedModel) -> None:
        """Its load ended well."""
        self._record = self._record.loaded(_suspect(prepared))

    def forgive(self, model: str) -> None:
        """A person says so, or the model has gone."""
        self._record = self._record.forgiven(model)


def _suspect(prepared: PreparedModel) -> Suspect:
    return Suspect(prepared.name, prepared.generation)


def _reason(sentence: Sentence, told: str) -> str:
    what = _WHILE[sentence.kind]
    if sentence.strikes == 0:
        return f"the inference server died {what}, or because of another model that it held: {told}"
    if sentence.strikes == 1:
        return f"the inference server died {what}: {told}"
    name = sentence.suspect.model
    return (
        f"held back, as the inference server died {sentence.strikes} times, the last time {what}: {told}; "
        f"{NOT_AGAIN} {name}"
    )
