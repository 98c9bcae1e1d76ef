"""What the gateway knows of tokens, and when Envoy is told anew."""

from __future__ import annotations

import asyncio

from overbook.access.tokens import digest
from overbook.gateway.access import Access
from overbook.gateway.scripts import read_asking
from overbook.gateway.snapshot.asking import Asking
from overbook.gateway.token_uses import TokenUses
from overbook.wire import scheduler_pb2 as pb

KEY = bytes(range(32))


class Told:
    """What Envoy was told, and the time."""

    def __init__(self, *, always: bool = False) -> None:
        self.asked: list[Asking | None] = []
        self.now = 0.0
        self.uses = TokenUses()
        self.access = Access(read_asking(), lambda: self.now, self._tell, self.uses, always=always)

    def _tell(self, asking: Asking | None) -> int:
        self.asked.append(asking)
        return len(self.asked)


def told(*tokens: tuple[str, float | None], asked: bool = True) -> pb.Access:
    return pb.Access(
        asked=asked,
        key=KEY,
        tokens=[
            pb.AccessToken(name=text, role="infer", expires=end, digest=digest(KEY, text))
            for text, end in tokens
        ],
    )


def test_nobody_is_known_before_the_scheduler_says_who_is_asked() -> None:
    here = Told()
    assert here.asked == []
    assert here.access.asked
    assert here.access.who("Bearer x") is None
    assert here.access.take(told(asked=False)) == 1
    assert not here.access.asked
    assert here.asked == [None]


def test_where_others_can_connect_everybody_is_asked_whatever_the_scheduler_says() -> None:
    here = Told(always=True)
    here.access.take(told(asked=False))
    assert here.access.asked
    assert here.asked[0] is not None
    assert here.access.who("Bearer x") is None


def test_tokens_are_known_until_others_are_told_or_they_end() -> None:
    here = Told()
    here.access.take(told(("a", None), ("b", 5.0)))
    assert here.access.who("Bearer a") is not None
    assert here.access.who("Bearer b") is not None
    here.now = 5.0
    assert here.access.who("Bearer b") is None
    here.access.take(told(("c", None)))
    assert here.access.who("Bearer a") is None


def test_what_was_used_is_noted() -> None:
    here = Told()
    here.access.take(told(("a", None), ("b", None)))
    here.now = 7.0
    here.access.who("Bearer a")
    here.access.who("Bearer other")
    assert here.uses.take() == {"a": 7.0}
    assert here.asked[0] is not None
    assert here.uses.path in here.asked[0].choose_rest


def test_envoy_has_the_digests_of_those_that_hold() -> None:
    here = Told()
    here.now = 5.0
    here.access.take(told(("a", None), ("b", 5.0)))
    asking = here.asked[0]
    assert asking is not None
    assert digest(KEY, "a").hex() in asking.choose_rest
    assert digest(KEY, "b").hex() not in asking.choose_rest


async def test_one_that_ends_right_after_envoy_was_told_is_taken_from_it() -> None:
    here = Told()
    here.access.take(told(("a", None), ("b", 5.0)))
    here.now = 5.0
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        running = group.create_task(here.access.run())
        while len(here.asked) < 2:  # noqa: ASYNC110  nobody says when it has told
            await asyncio.sleep(0)
        running.cancel()
    asking = here.asked[1]
    assert asking is not None
    assert digest(KEY, "a").hex() in asking.choose_rest
    assert digest(KEY, "b").hex() not in asking.choose_rest
