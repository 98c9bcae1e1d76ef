from __future__ import annotations

from collections.abc import Mapping

from overbook.residency.events import ModelName
from overbook.residency.questions import Question, Questions

A, B = ModelName("a"), ModelName("b")


class Heard:
    """What was heard of the gateways."""

    def __init__(self) -> None:
        self.passed: dict[ModelName, dict[str, int]] = {}
        self.questions = Questions(self.passed_on)

    def passed_on(self, model: ModelName) -> Mapping[str, int]:
        return dict(self.passed.get(model, {}))


def test_a_model_is_asked_about_once_at_a_time() -> None:
    heard = Heard()
    heard.passed[A] = {"gw": 3}
    assert heard.questions.begin([A, B]) == [Question(A, {"gw": 3}), Question(B, {})]
    assert heard.questions.begin([A, B]) == []
    assert heard.questions.answered(A)
    assert heard.questions.begin([A, B]) == [Question(A, {"gw": 3})]


def test_an_answer_says_nothing_once_more_was_let_through() -> None:
    heard = Heard()
    heard.passed[A] = {"gw": 3}
    heard.questions.begin([A])
    heard.passed[A] = {"gw": 4}
    assert not heard.questions.answered(A)
    heard.questions.begin([A])
    assert heard.questions.answered(A)


def test_nor_once_a_gateway_is_gone_and_with_it_its_number() -> None:
    heard = Heard()
    heard.passed[A] = {"gw": 3}
    heard.questions.begin([A])
    del heard.passed[A]["gw"]
    assert not heard.questions.answered(A)


def test_nor_once_a_meter_saw_the_model_in_use() -> None:
    heard = Heard()
    heard.questions.busy(A)
    heard.questions.begin([A, B])
    heard.questions.busy(A)
    assert not heard.questions.answered(A)
    assert heard.questions.answered(B), "another one was seen"


def test_few_questions_are_open_at_once() -> None:
    heard = Heard()
    many = [ModelName(f"m{number}") for number in range(50)]
    begun = heard.questions.begin(many)
    assert [each.model for each in begun] == many[: len(begun)]
    assert 8 <= len(begun) < 20
    assert heard.questions.begin(many) == []
    heard.questions.answered(many[3])
    assert [each.model for each in heard.questions.begin(many[4:])] == [many[len(begun)]]


def test_with_the_server_all_that_it_was_asked_is_void() -> None:
    heard = Heard()
    heard.questions.begin([A])
    heard.questions.void()
    assert heard.questions.begin([A]) == [Question(A, {})]
