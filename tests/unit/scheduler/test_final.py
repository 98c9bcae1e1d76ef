"""When a failure is final: only then is there nothing to wait for."""

from __future__ import annotations

import pytest

from overbook.scheduler import status
from overbook.scheduler.records import Report
from tests.unit.scheduler.world import World, a_report


def broken(*, final: bool = False) -> Report:
    return a_report(
        available=False, failed=True, last_error="No module named 'nowhere'", final=final
    )


def final(world: World, name: str = "iris") -> bool:
    found = status.model_object(world.model(name), world.state.seats.replicas)
    return found["status"]["final"]


@pytest.fixture
def world() -> World:
    made = World()
    made.server(replicas=2)
    for number in range(2):
        made.hello(f"mlserver/{number}")
    return made


def test_a_failure_that_is_tried_again_is_not_final(world: World) -> None:
    world.apply("iris")
    assert not final(world)
    world.report(str(world.model("iris").assigned[0]), "iris", broken())
    assert world.reason("iris") == "ModelFailed"
    assert not final(world)


def test_one_that_was_given_up_is_final_and_says_what_to_do(world: World) -> None:
    world.apply("iris")
    seat = str(world.model("iris").assigned[0])
    world.report(seat, "iris", broken(final=True))
    assert final(world)
    condition = world.model("iris").condition
    assert condition is not None
    assert condition.message == (
        f"{seat}: No module named 'nowhere'; it is not retried by itself: fix it and apply it, or activate it"
    )


@pytest.mark.parametrize(("least", "is_final"), [(1, False), (2, True)])
def test_it_is_final_when_the_other_replicas_do_not_suffice(
    world: World, least: int, is_final: bool
) -> None:
    world.apply("iris", replicas=2, minReplicas=least)
    world.report("mlserver/0", "iris", broken(final=True))
    assert final(world) is is_final


def test_what_is_said_of_older_content_is_not_final_for_the_new(world: World) -> None:
    world.apply("iris")
    seat = str(world.model("iris").assigned[0])
    world.report(seat, "iris", broken(final=True))
    world.apply("iris", requirements=["sklearn"])
    assert not final(world)


def test_what_is_tried_again_says_when() -> None:
    world = World()
    world.server()
    world.hello()
    world.apply("iris")
    at = 3 * 86_400.0 + 13 * 3600 + 7 * 60 + 9.5
    failed = a_report(available=False, failed=True, last_error="it is away", retry_at=at)
    world.report("mlserver/0", "iris", failed)
    condition = world.model("iris").condition
    assert condition is not None
    assert condition.message == "mlserver/0: it is away; tried again at 13:07:09 UTC"
