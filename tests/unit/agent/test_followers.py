"""Gateways' outboxes: newest message per model, answers matched by ticket, usage summed over gateways."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from overbook.agent.followers import Follower, Followers
from overbook.residency.events import ModelName, RequestId, Ticket
from overbook.wire import agent_pb2 as pb

A, B = ModelName("a"), ModelName("b")


class Heard:
    """What the actor would be told."""

    def __init__(self) -> None:
        self.withdrawn: list[tuple[ModelName, Ticket]] = []
        self.passed: list[RequestId] = []
        self.usage: list[tuple[ModelName, int, bool]] = []
        self.followers = Followers(
            on_withdrawn=lambda model, ticket: self.withdrawn.append((model, ticket)),
            on_passed=self.passed.append,
            on_usage=lambda model, count, active: self.usage.append((model, count, active)),
        )
        self.followers.set_address(pb.ServerAddress(rest="r:1", grpc="g:1", epoch=1))

    def attach(self, name: str) -> Follower:
        follower = self.followers.attach(name)
        self.followers.messages_for(follower)
        return follower


@pytest.fixture
def heard() -> Heard:
    return Heard()


def kinds(messages: Iterable[pb.AgentToGateway]) -> list[str]:
    return [str(message.WhichOneof("message")) for message in messages]


def test_without_gateways_a_model_is_withdrawn_at_once(heard: Heard) -> None:
    heard.followers.publish(A)
    heard.followers.withdraw(A, Ticket(1))
    assert heard.withdrawn == [(A, Ticket(1))]


def test_a_new_gateway_gets_address_and_the_whole_hot_set(heard: Heard) -> None:
    for model in (A, B):
        heard.followers.publish(model)
    address, hot = heard.followers.messages_for(heard.followers.attach("g"))
    assert address.address.rest == "r:1"
    assert (hot.hot.reset, hot.hot.complete, list(hot.hot.models)) == (True, True, [A, B])


def test_before_the_server_is_up_a_gateway_is_told_that_there_is_none() -> None:
    followers = Followers(
        on_withdrawn=lambda *_: None, on_passed=lambda _: None, on_usage=lambda *_: None
    )
    address, hot = followers.messages_for(followers.attach("g"))
    assert address.address.rest == ""
    assert (hot.hot.reset, hot.hot.complete, list(hot.hot.models)) == (True, True, [])


def test_a_large_hot_set_is_told_in_chunks_of_which_the_first_resets(heard: Heard) -> None:
    for number in range(2500):
        heard.followers.publish(ModelName(f"m{number}"))
    _, *chunks = heard.followers.messages_for(heard.followers.attach("g"))
    assert [(c.hot.reset, c.hot.complete, len(c.hot.models)) for c in chunks] == [
        (True, False, 1000),
        (False, False, 1000),
        (False, True, 500),
    ]


def test_withdrawn_only_when_every_gateway_has_answered(heard: Heard) -> None:
    first, second = heard.attach("1"), heard.attach("2")
    heard.followers.publish(A)
    heard.followers.withdraw(A, Ticket(7))
    heard.followers.withdrawn(first, A, Ticket(7))
    assert heard.withdrawn == []
    heard.followers.withdrawn(second, A, Ticket(7))
    assert heard.withdrawn == [(A, Ticket(7))]


def test_an_answer_to_an_older_withdrawal_means_nothing(heard: Heard) -> None:
    gateway = heard.attach("1")
    heard.followers.withdraw(A, Ticket(1))
    heard.followers.publish(A)
    heard.followers.withdrawn(gateway, A, Ticket(1))
    heard.followers.withdraw(A, Ticket(2))
    heard.followers.withdrawn(gateway, A, Ticket(1))
    assert heard.withdrawn == []


def test_a_rescue_before_the_withdrawal_was_sent_sends_only_the_rescue(heard: Heard) -> None:
    gateway = heard.attach("1")
    heard.followers.withdraw(A, Ticket(1))
    heard.followers.publish(A)
    messages = heard.followers.messages_for(gateway)
    assert kinds(messages) == ["hot"]
    assert list(messages[0].hot.models) == [A]


def test_a_gateway_that_leaves_is_not_waited_for(heard: Heard) -> None:
    first, second = heard.attach("1"), heard.attach("2")
    heard.followers.withdraw(A, Ticket(3))
    heard.followers.withdrawn(first, A, Ticket(3))
    heard.followers.detach(second)
    assert heard.withdrawn == [(A, Ticket(3))]


def test_in_flight_is_summed_over_gateways_and_forgotten_with_them(heard: Heard) -> None:
    first, second = heard.attach("1"), heard.attach("2")
    heard.followers.usage(first, A, 2, 5)
    heard.followers.usage(second, A, 1, 1)
    heard.followers.detach(first)
    assert heard.usage == [(A, 2, True), (A, 3, True), (A, 1, False)]


def test_the_end_of_the_last_request_counts_as_activity(heard: Heard) -> None:
    gateway = heard.attach("1")
    heard.followers.usage(gateway, A, 1, 1)
    heard.followers.usage(gateway, A, 0, 0)
    heard.followers.usage(gateway, A, 0, 0)
    assert heard.usage == [(A, 1, True), (A, 0, True), (A, 0, False)]


def test_when_the_server_is_gone_gateways_are_reset_and_nobody_is_asked_to_drain(
    heard: Heard,
) -> None:
    gateway = heard.attach("1")
    heard.followers.publish(A)
    heard.followers.withdraw(A, Ticket(1))
    heard.followers.withdraw_all()
    address, reset = heard.followers.messages_for(gateway)
    assert (address.address.rest, address.address.epoch) == ("", 1)
    assert (reset.hot.reset, list(reset.hot.models)) == (True, [])
    heard.followers.withdrawn(gateway, A, Ticket(1))
    assert heard.withdrawn == []


R, S = RequestId(7), RequestId(8)


def test_what_a_call_was_granted_is_kept_until_the_gateway_has_passed_it_on(heard: Heard) -> None:
    gateway = heard.attach("1")
    heard.followers.granted("1", 100, R)
    heard.followers.granted("1", 101, S)
    assert heard.passed == []
    heard.followers.passed(gateway, [101])
    assert heard.passed == [S]
    heard.followers.passed(gateway, [100])
    assert heard.passed == [S, R]


@pytest.mark.parametrize("name", ["", "a stranger", "2"])
def test_where_nobody_will_say_so_it_is_passed_on_at_once(heard: Heard, name: str) -> None:
    """A person, a gateway that has no stream yet, and one that has lost it."""
    heard.attach("1")
    heard.followers.detach(heard.attach("2"))
    heard.followers.granted(name, 100, R)
    assert heard.passed == [R]


def test_what_was_granted_to_a_gateway_that_leaves_is_passed_on(heard: Heard) -> None:
    gateway = heard.attach("1")
    heard.followers.granted("1", 100, R)
    heard.followers.detach(gateway)
    assert heard.passed == [R]
    assert heard.followers.passed_on(A) == {}


def test_a_gateway_that_comes_again_before_it_was_missed_has_nothing_left_from_before(
    heard: Heard,
) -> None:
    old = heard.attach("1")
    heard.followers.granted("1", 100, R)
    heard.followers.let_through(old, A, 5, 1)
    new = heard.attach("1")
    assert heard.passed == [R]
    heard.followers.granted("1", 101, S)
    heard.followers.let_through(new, A, 6, 1)
    heard.followers.detach(old)
    assert heard.passed == [R]
    assert heard.followers.passed_on(A) == {"1": 6}


def test_a_call_that_was_given_up_and_granted_all_the_same_is_passed_on(heard: Heard) -> None:
    gateway = heard.attach("1")
    heard.followers.passed(gateway, [100])
    heard.followers.granted("1", 100, R)
    assert heard.passed == [R]
    for call in range(2000):
        heard.followers.passed(gateway, [call])
    assert len(gateway.given_up) <= 1000


def test_each_gateway_says_how_many_it_has_let_through(heard: Heard) -> None:
    first, second = heard.attach("1"), heard.attach("2")
    heard.followers.let_through(first, A, 5, 1)
    heard.followers.let_through(second, B, 9, 1)
    heard.followers.withdraw(A, Ticket(1))
    heard.followers.let_through(first, A, 6, 1)
    heard.followers.withdrawn(first, A, Ticket(1))
    assert heard.followers.passed_on(A) == {"1": 6}
    heard.followers.let_through(second, A, 0, 1)
    heard.followers.withdrawn(second, A, Ticket(1))
    assert heard.followers.passed_on(A) == {"1": 6, "2": 0}


def test_what_was_let_through_to_another_process_is_not_counted(heard: Heard) -> None:
    gateway = heard.attach("1")
    heard.followers.let_through(gateway, A, 5, 1)
    heard.followers.let_through(gateway, A, 99, 2)
    assert heard.followers.passed_on(A) == {"1": 5}
    heard.followers.withdraw_all()
    heard.followers.let_through(gateway, A, 6, 1)
    heard.followers.set_address(pb.ServerAddress(rest="r:1", grpc="g:1", epoch=2))
    assert heard.followers.passed_on(A) == {}
    heard.followers.let_through(gateway, A, 7, 1)
    assert heard.followers.passed_on(A) == {}
    heard.followers.let_through(gateway, A, 1, 2)
    assert heard.followers.passed_on(A) == {"1": 1}


def test_with_the_server_goes_what_was_granted_and_counted(heard: Heard) -> None:
    gateway = heard.attach("1")
    heard.followers.granted("1", 100, R)
    heard.followers.let_through(gateway, A, 5, 1)
    heard.followers.withdraw_all()
    assert heard.followers.passed_on(A) == {}
    heard.followers.passed(gateway, [100])
    assert heard.passed == [], "it is void"
