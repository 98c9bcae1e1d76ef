from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

from bench.asking import WrongAnswer, same
from bench.contest import Question, take_turn, zipf
from bench.zoo import Exhibit, Plan

MODELS = [Exhibit(Plan(f"m{n}", "forest", 1.0), Path(), {}, (1.0, 2.0)) for n in range(20)]


def test_some_models_are_asked_far_more_often_whatever_the_seed() -> None:
    first, second = (zipf(MODELS, 2000, alpha=0.9, seed=seed) for seed in (1, 2))
    assert first == zipf(MODELS, 2000, alpha=0.9, seed=1)
    assert first != second
    counts = [Counter(each.exhibit.name for each in questions) for questions in (first, second)]
    assert counts[0].most_common(1)[0][0] == counts[1].most_common(1)[0][0]
    assert counts[0].most_common(1)[0][1] > 5 * min(counts[0].values())
    assert 0.4 < sum(each.over_grpc for each in first) / len(first) < 0.6


async def test_a_turn_has_so_many_at_once_and_counts_failures() -> None:
    running = most = 0

    async def ask(question: Question) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        if question.over_grpc:
            raise WrongAnswer("no")

    questions = [Question(MODELS[0], over_grpc=number % 5 == 0) for number in range(20)]
    turn = await take_turn(ask, questions, clients=3)
    assert most == 3
    assert (len(turn.milliseconds.values), turn.failed, turn.failures) == (20, 4, ("no",) * 3)
    assert turn.per_second == 16 / turn.seconds


def test_answers_are_compared_as_numbers_or_as_words() -> None:
    words = Exhibit(Plan("w", "text", 1.0), Path(), {}, ("yes", "no"))
    same(MODELS[0], [1.0, 2.00001])
    same(words, ["yes", "no"])
    for exhibit, data in ((MODELS[0], [1.0]), (MODELS[0], [1.0, 2.1]), (words, ["yes", "yes"])):
        try:
            same(exhibit, data)
        except WrongAnswer:
            continue
        raise AssertionError(f"{data} passed for {exhibit.answers}")
