"""Who is to blame for the deaths of an inference server, and for how long they are held back. Pure.

Theory of operation. A death has suspects: the models whose code it was in. A death with one suspect is that model's
doing, and is a strike against this content of it. The first strike costs it a moment (none when it was loading: who
waits for it may have a second try), the second within an hour holds it back until a person says otherwise. Models with
a strike that are among several suspects are taken for the cause again, and nobody else is.

Where several are suspected and none of them has a strike, nobody is accused: two models that are innocent may well be
met beside two that are not. Nor is anybody where no model's code was seen to run, even if only one had a request open:
a thread that another one has left behind may have ended the process. But those that are met in such deaths again are
kept apart for some seconds. Of those that were met most often one half is let in first: either it dies with fewer
suspects, or, when it dies once all are back, it is the other half's turn. So the innocent lose seconds, and a culprit
is alone, and known, after a few deaths.

A strike is against a content. Memory that one model corrupts and another one trips over accuses the wrong one; nothing
that can be seen from outside tells these apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from overbook.agent.deaths import CallKind

# Seconds for which a death counts.
MEMORY: Final = 3600.0
# Strikes with which a content is held back until a person, or a change, frees it.
STRIKES: Final = 2
# Seconds that a content is held back for its first strike: who asked for it is not sent to its death again at once.
FIRST_HOLD: Final = 2.0
# Seconds after which half of the likeliest suspects are let in again, and then all others.
FIRST_APART: Final = 3.0
LONGEST_APART: Final = 9.0


@dataclass(frozen=True, slots=True, order=True)
class Suspect:
    """A content of a model: another generation is another suspect."""

    model: str
    generation: int


@dataclass(frozen=True, slots=True)
class Sentence:
    """``strikes``: 0 for one that is only kept apart. ``until``: held back before then; inf: until a person or a
    change frees it; not later than now: not held back.
    """

    suspect: Suspect
    kind: CallKind
    strikes: int
    until: float


@dataclass(frozen=True, slots=True)
class Unsolved:
    """A death at ``at`` for which several are suspected, each for what its code did then."""

    at: float
    among: Mapping[Suspect, CallKind]


@dataclass(frozen=True, slots=True)
class Record:
    """What is remembered. ``strikes``: when they fell, by suspect."""

    strikes: Mapping[Suspect, tuple[float, ...]] = field(default_factory=dict)
    unsolved: tuple[Unsolved, ...] = ()

    def watched(self, suspect: Suspect) -> bool:
        """Whether it is suspected of anything: then it had better load alone."""
        return suspect in self.strikes or any(suspect in each.among for each in self.unsolved)

    def loaded(self, suspect: Suspect) -> Record:
        """It was loaded without harm: its load is suspected no more."""
        left = (
            Unsolved(each.at, {one: kind for one, kind in each.among.items() if one != suspect})
            if each.among.get(suspect) is CallKind.LOAD
            else each
            for each in self.unsolved
        )
        return Record(self.strikes, tuple(each for each in left if each.among))

    def forgiven(self, model: str) -> Record:
        """Nothing is held against any content of the model any more."""
        strikes = {one: times for one, times in self.strikes.items() if one.model != model}
        left = (
            Unsolved(each.at, {one: kind for one, kind in each.among.items() if one.model != model})
            for each in self.unsolved
        )
        return Record(strikes, tuple(each for each in left if each.among))


def judge(
    before: Record, suspects: Mapping[Suspect, CallKind], now: float, *, ran: bool = True
) -> tuple[Record, tuple[Sentence, ...]]:
    """A process ended in the code of these: what is remembered from now on, and who is held back for it.

    ``ran``: their code ran then; else they only waited for something.
    """
    record = _recent(before, now)
    if not suspects:
        return record, ()
    known = [one for one in suspects if one in record.strikes]
    guilty = known or (list(suspects) if ran and len(suspects) == 1 else [])
    if guilty:
        return _accuse(record, sorted(guilty), suspects, now)
    return _keep_apart(record, suspects, now)


def _accuse(
    record: Record, guilty: Iterable[Suspect], suspects: Mapping[Suspect, CallKind], now: float
) -> tuple[Record, tuple[Sentence, ...]]:
    strikes, unsolved = dict(record.strikes), record.unsolved
    sentences = []
    for one in guilty:
        strikes[one] = (*strikes.get(one, ()), now)
        # What it was among the suspects of is solved: the others are cleared of that.
        unsolved = tuple(each for each in unsolved if one not in each.among)
        count = len(strikes[one])
        sentences.append(Sentence(one, suspects[one], count, _until(count, suspects[one], now)))
    return Record(strikes, unsolved), tuple(sentences)


def _until(strikes: int, kind: CallKind, now: float) -> float:
    if strikes >= STRIKES:
        return math.inf
    return now if kind is CallKind.LOAD else now + FIRST_HOLD


def _keep_apart(
    record: Record, suspects: Mapping[Suspect, CallKind], now: float
) -> tuple[Record, tuple[Sentence, ...]]:
    times = {one: sum(one in each.among for each in record.unsolved) for one in suspects}
    most = max(times.values())
    likely = sorted(one for one, count in times.items() if count == most)
    half = len(likely) // 2
    # All come back, and it dies again: then the other half is let in first.
    first = likely[half:] if most % 2 else likely[: half or 1]
    sentences = tuple(
        Sentence(one, suspects[one], 0, now + (FIRST_APART if one in first else LONGEST_APART))
        for one in sorted(times)
        if times[one]
    )
    return Record(record.strikes, (*record.unsolved, Unsolved(now, dict(suspects)))), sentences


def _recent(record: Record, now: float) -> Record:
    strikes = {
        one: kept
        for one, times in record.strikes.items()
        if (kept := tuple(at for at in times if now - at < MEMORY))
    }
    return Record(strikes, tuple(each for each in record.unsolved if now - each.at < MEMORY))
