"""Who is blamed for deaths: a culprit soon, the innocent beside it not for long, whatever runs together."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overbook.agent.blame import (
    FIRST_HOLD,
    LONGEST_APART,
    MEMORY,
    Record,
    Sentence,
    Suspect,
    judge,
)
from overbook.agent.deaths import CallKind

A, B, C = Suspect("a", 1), Suspect("b", 1), Suspect("c", 1)


def died(
    record: Record, now: float, *suspects: Suspect, kind: CallKind = CallKind.REQUEST
) -> Record:
    return judge(record, dict.fromkeys(suspects, kind), now)[0]


def sentences(record: Record, now: float, *suspects: Suspect) -> dict[Suspect, Sentence]:
    _, found = judge(record, dict.fromkeys(suspects, CallKind.REQUEST), now)
    return {each.suspect: each for each in found}


def test_who_was_alone_is_named_at_once_and_held_back_at_the_second_time() -> None:
    record, [first] = judge(Record(), {A: CallKind.REQUEST}, 10.0)
    assert (first.strikes, first.until) == (1, 10.0 + FIRST_HOLD)
    _, [second] = judge(record, {A: CallKind.UNLOAD}, 20.0)
    assert (second.strikes, second.until) == (2, math.inf)


def test_who_waits_for_a_load_may_have_a_second_try() -> None:
    record, [first] = judge(Record(), {A: CallKind.LOAD}, 10.0)
    assert first.until <= 10.0
    assert judge(record, {A: CallKind.LOAD}, 11.0)[1][0].until == math.inf


def test_who_only_waited_is_not_accused_and_never_held_back_for_good() -> None:
    """The only request that was open: but a thread that some model left behind may have ended the process."""
    record, found = judge(Record(), {A: CallKind.REQUEST}, 0.0, ran=False)
    assert found == ()
    for number in range(1, 20):
        record, [sentence] = judge(record, {A: CallKind.REQUEST}, 10.0 * number, ran=False)
        assert sentence.strikes == 0
        assert sentence.until <= 10.0 * number + LONGEST_APART


def test_a_death_without_suspects_is_nobodys() -> None:
    assert judge(Record(), {}, 0.0) == (Record(), ())


def test_of_several_nobody_is_accused() -> None:
    assert sentences(Record(), 0.0, A, B) == {}


def test_those_that_are_met_again_are_kept_apart_and_take_turns() -> None:
    record = died(Record(), 0.0, A, B)
    first = sentences(record, 1.0, A, B)
    second = sentences(died(record, 1.0, A, B), 2.0, A, B)
    assert {each.strikes for each in (*first.values(), *second.values())} == {0}
    assert (first[A].until < first[B].until) != (second[A].until < second[B].until)


def test_only_what_deaths_have_in_common_is_kept_away() -> None:
    assert set(sentences(died(Record(), 0.0, A, B), 1.0, A, C)) == {A}


def test_a_known_culprit_among_several_is_the_culprit_again() -> None:
    found = sentences(died(Record(), 0.0, A), 1.0, A, B)
    assert set(found) == {A}
    assert found[A].until == math.inf


def test_who_is_found_alone_clears_those_it_was_met_with() -> None:
    record = died(died(Record(), 0.0, A, B), 1.0, A)
    assert not record.watched(B)
    assert sentences(record, 2.0, B, C) == {}


def test_a_load_that_ends_well_clears_what_was_only_loading() -> None:
    loading = died(Record(), 0.0, A, B, kind=CallKind.LOAD)
    assert loading.watched(A)
    assert not loading.loaded(A).watched(A)
    assert loading.loaded(A).watched(B)
    assert died(Record(), 0.0, A, B).loaded(A).watched(A), "its requests were suspected"
    assert died(Record(), 0.0, A).loaded(A).watched(A), "a strike stays"


def test_a_person_and_another_content_begin_anew() -> None:
    record = died(died(Record(), 0.0, A), 0.5, B, C)
    newer = Suspect("a", 2)
    assert sentences(record, 1.0, newer)[newer].strikes == 1
    assert sentences(record.forgiven("a"), 1.0, A)[A].strikes == 1
    assert not record.forgiven("b").watched(B)
    assert record.forgiven("b").watched(C)
    assert record.forgiven("b").forgiven("c").unsolved == ()


@pytest.mark.parametrize("before", [(A,), (A, B)])
def test_what_is_long_ago_does_not_count(before: tuple[Suspect, ...]) -> None:
    record = died(Record(), 0.0, *before)
    assert judge(record, {A: CallKind.REQUEST, B: CallKind.REQUEST}, MEMORY)[1] == ()


names = [Suspect(name, 1) for name in "abcdef"]


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_the_innocent_lose_seconds_and_a_culprit_is_held_back_soon(data: st.DataObject) -> None:
    """Whatever is in the process with a culprit when it kills: a model that is held back is not in it, of course."""
    culprits = set(data.draw(st.lists(st.sampled_from(names), min_size=1, max_size=2, unique=True)))
    innocent = [one for one in names if one not in culprits]
    record, now = Record(), 0.0
    until: dict[Suspect, float] = {}
    alone = dict.fromkeys(culprits, 0)
    for _ in range(60):
        now += data.draw(st.sampled_from([0.5, 2.0, 5.0]), label="pause")
        free = {one for one in names if until.get(one, 0.0) <= now}
        killers = sorted(culprits & free)
        if not killers:
            if all(until.get(one) == math.inf for one in culprits):
                break
            continue
        killer = data.draw(st.sampled_from(killers), label="killer")
        beside = data.draw(st.sets(st.sampled_from(names)), label="beside") & free
        suspects = {killer} | beside
        if len(suspects) == 1:
            alone[killer] += 1
        record, found = judge(record, dict.fromkeys(suspects, CallKind.REQUEST), now)
        for sentence in found:
            until[sentence.suspect] = sentence.until
        for one in innocent:
            assert until.get(one, 0.0) <= now + LONGEST_APART, "an innocent is held back for long"
        for one, times in alone.items():
            assert times < 2 or until[one] == math.inf, "it killed alone two times"


@pytest.mark.parametrize("beside", [1, 2, 4])
def test_a_culprit_is_found_however_many_always_run_with_it(beside: int) -> None:
    """Each is asked all the time, so all that are not held back are in the process when it dies."""
    all_of_them, culprit = names[: beside + 1], names[beside // 2]
    record, now, deaths = Record(), 0.0, 0
    until: dict[Suspect, float] = {}
    while until.get(culprit, 0.0) != math.inf:
        now += 1.0
        running = [one for one in all_of_them if until.get(one, 0.0) <= now]
        if culprit in running:
            deaths += 1
            record, found = judge(record, dict.fromkeys(running, CallKind.REQUEST), now)
            until |= {each.suspect: each.until for each in found}
        assert deaths <= 4 + 2 * beside, "it goes on and on"
    assert all(until.get(one, 0.0) <= now + LONGEST_APART for one in all_of_them if one != culprit)
