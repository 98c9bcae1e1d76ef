"""Updates of registered models: never refused for the overcommit, and no wish is forgotten."""

from __future__ import annotations

import pytest

from overbook.artifacts.survey import Survey
from overbook.scheduler.errors import Conflict
from overbook.scheduler.records import Role
from tests.unit.scheduler.world import MB, World, a_report


def _full() -> World:
    """Three models with 12 MB together, as many as may be; one takes twice what its manifest says."""
    world = World()
    world.server()
    world.hello()
    for name in ("a", "b", "c"):
        world.apply(name, memory=4 * MB)
        world.report("mlserver/0", name)
    world.report("mlserver/0", "a", a_report(declared=4 * MB, measured=8 * MB, size=8 * MB))
    return world


def _message(world: World, name: str = "mlserver") -> str:
    condition = world.state.server(name).condition
    assert condition is not None
    return condition.message


def test_an_update_that_is_no_larger_is_taken_although_others_have_outgrown_the_limit() -> None:
    world = _full()
    for size, files in ((4, "2"), (3, "3"), (3, "4")):
        applied = world.apply("b", memory=size * MB, artifact=Survey(MB, files))
        assert (applied.action, applied.warnings) == ("configured", ())
    assert world.seats("b") == {"mlserver/0": Role.ASSIGNED}
    world.check()


def test_a_larger_one_is_taken_and_said_to_be_over_the_limit() -> None:
    world = _full()
    applied = world.apply("b", memory=6 * MB)
    assert applied.action == "configured"
    (warning,) = applied.warnings
    assert (
        "17.17MiB (18000000 bytes) are registered now, 5.72MiB (6000000 bytes) more than its limit"
        in warning
    )
    assert "1.91MiB (2000000 bytes) more than before" in warning
    assert world.seats("b") == {"mlserver/0": Role.ASSIGNED}
    assert "17.17MiB (18000000 bytes) are registered, more than the limit of 11.44MiB" in _message(
        world
    )
    world.report("mlserver/0", "b")
    assert world.reason("b") == "ModelAvailable"
    world.apply("d", memory=MB)
    assert world.reason("d") == "ScheduleFailed"
    world.bye("mlserver/0")
    world.hello()
    assert world.seats("b") == {"mlserver/0": Role.ASSIGNED}
    world.check()


def test_a_larger_one_goes_where_there_is_room_for_it() -> None:
    world = _full()
    world.server("other")
    world.hello("other/0")
    assert world.apply("b", memory=6 * MB).warnings == ()
    assert world.seats("b") == {"mlserver/0": Role.LEAVING, "other/0": Role.ASSIGNED}
    world.check()


def test_one_that_no_budget_holds_is_refused_with_numbers() -> None:
    world = _full()
    with pytest.raises(Conflict, match="13000000 bytes"):
        world.apply("b", memory=13 * MB)


def test_a_smaller_budget_still_sends_away_what_is_too_much() -> None:
    world = _full()
    world.server(memory=8 * MB, overcommitPercentage=0)
    assert [bool(world.model(name).assigned) for name in "abc"] == [True, True, False]


def test_an_update_to_two_replicas_that_finds_one_keeps_the_wish() -> None:
    world = World()
    world.server()
    world.hello()
    world.apply("iris")
    world.report("mlserver/0", "iris")
    assert world.apply("iris", replicas=2).action == "configured"
    world.report("mlserver/0", "iris")
    condition = world.model("iris").condition
    assert condition is not None
    assert condition.status
    assert condition.message == (
        "1 of 2 replicas available; 1 of 2 replicas placed; "
        "there is only 1 server replica it may go to"
    )
    world.server(replicas=2)
    world.hello("mlserver/1")
    assert set(world.seats("iris")) == {"mlserver/0", "mlserver/1"}
    world.check()


def test_a_model_that_serves_on_fewer_replicas_than_before_is_ready() -> None:
    world = World()
    world.server(replicas=2)
    world.hello("mlserver/0")
    world.hello("mlserver/1")
    world.apply("iris", replicas=2)
    for where in ("mlserver/0", "mlserver/1"):
        world.report(where, "iris")
    world.server(replicas=1)
    assert world.reason("iris") == "ModelAvailable"
    world.gone("mlserver/1", "iris")
    world.bye("mlserver/1")
    condition = world.model("iris").condition
    assert condition is not None
    assert condition.status
    assert "taken away" not in condition.message
    assert "there is only 1 server replica it may go to" in condition.message
    world.check()


# -- what gateways tell of a model


def _ready(world: World) -> tuple[bool | None, str]:
    told = world.model("iris").readiness
    return told.ready, told.reason


def _placed() -> World:
    world = World()
    world.server()
    world.hello()
    world.apply("iris")
    return world


def test_until_an_agent_told_nothing_is_said() -> None:
    world = _placed()
    assert _ready(world) == (None, "")
    world.report("mlserver/0", "iris", a_report(available=False, unverified="not tried yet"))
    assert _ready(world) == (False, "mlserver/0: not tried yet")
    assert "iris" in world.last.routes
    world.report("mlserver/0", "iris")
    assert _ready(world) == (True, "")
    assert "iris" in world.last.routes
    world.report("mlserver/0", "iris")
    assert "iris" not in world.last.routes, "no news"
    world.bye("mlserver/0")
    assert _ready(world) == (None, "")


def test_one_that_failed_is_not_ready_but_where_an_older_generation_serves() -> None:
    world = _placed()
    failed = a_report(available=False, failed=True, last_error="bad pickle")
    world.report("mlserver/0", "iris", failed)
    assert _ready(world) == (False, "mlserver/0: bad pickle")
    world.apply("iris", artifact=Survey(MB, "2"))
    older = a_report(2, available=False, failed=True, last_error="bad", serving_generation=1)
    world.report("mlserver/0", "iris", older)
    assert _ready(world) == (True, "")
    assert world.reason("iris") == "ModelFailed"


def test_one_without_a_place_says_why() -> None:
    world = _placed()
    world.apply("iris", requirements=["sklearn"])
    world.server(capabilities=["only"])
    ready, reason = _ready(world)
    assert ready is False
    assert "no server offers 'sklearn'" in reason


def test_what_nobody_has_loaded_yet_is_said_of_models_that_wait_and_of_those_that_are_ready() -> (
    None
):
    world = _placed()
    world.report("mlserver/0", "iris", a_report(available=False, unverified="it waits"))
    condition = world.model("iris").condition
    assert condition is not None
    assert condition.message == "0 of 1 needed replicas available; mlserver/0: it waits"
    world.report("mlserver/0", "iris", a_report(unverified="spec.verify is false"))
    condition = world.model("iris").condition
    assert condition is not None
    assert condition.message == (
        "1 of 1 replicas available; unverified: mlserver/0: spec.verify is false"
    )
