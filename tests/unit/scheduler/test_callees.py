"""Models that call others: where they go, and what becomes of them when those go."""

from __future__ import annotations

import pytest

from overbook.artifacts.survey import Survey
from overbook.scheduler.errors import Conflict
from overbook.scheduler.manifests_in import NOT_LOOKED
from overbook.scheduler.messages import assigned_model
from tests.unit.scheduler.test_rows import reread
from tests.unit.scheduler.world import MB, World

ENSEMBLE = Survey(100, "f", callees=("add", "scale"))


@pytest.fixture
def world() -> World:
    made = World()
    made.server(replicas=3)
    for number in range(3):
        made.hello(f"mlserver/{number}")
    return made


def where(world: World, name: str) -> list[str]:
    return sorted(str(each) for each in world.model(name).assigned)


def message(world: World, name: str) -> str:
    condition = world.model(name).condition
    assert condition is not None
    return condition.message


def test_a_caller_goes_where_all_that_it_calls_is(world: World) -> None:
    world.apply("fills", memory=5 * MB)
    world.apply("add")
    world.apply("caller", needs=["add"])
    assert where(world, "caller") == where(world, "add")
    assert list(assigned_model(world.model("caller"), pinned=True).callees) == ["add"]
    world.check()


def test_what_an_ensembles_files_name_is_called_too(world: World) -> None:
    world.apply("ensemble", artifact=ENSEMBLE, needs=["add"])
    assert world.model("ensemble").callees == ("add", "scale")
    assert message(world, "ensemble") == (
        "the model calls 'add', 'scale', which are not registered; apply them first"
    )
    world.apply("add")
    assert message(world, "ensemble").startswith("the model calls 'scale', which is not registered")
    world.apply("scale", server="mlserver")
    together = where(world, "ensemble")
    if where(world, "add") == where(world, "scale"):
        assert together == where(world, "add")
    else:
        assert together == []
        assert "which the model calls, is not assigned to it" in message(world, "ensemble")


def test_it_follows_what_it_calls_and_goes_with_it(world: World) -> None:
    world.apply("add", replicas=3)
    world.apply("caller", needs=["add"], replicas=3)
    assert len(where(world, "caller")) == 3
    world.apply("add", replicas=1)
    assert where(world, "caller") == where(world, "add")
    assert "1 of 3 replicas placed" in message(world, "caller")
    world.delete("add")
    assert where(world, "caller") == []
    assert "not registered" in message(world, "caller")
    for seat in world.seats("add"):
        world.gone(seat, "add")
    assert "add" not in world.state.seats.models
    world.apply("add", replicas=3)
    assert where(world, "caller") == where(world, "add")
    world.check()


def test_a_chain_is_placed_from_its_end(world: World) -> None:
    world.apply("first", needs=["second"])
    world.apply("second", needs=["third"])
    assert where(world, "first") == where(world, "second") == []
    world.apply("third")
    assert where(world, "first") == where(world, "second") == where(world, "third") != []


@pytest.mark.parametrize("unseen", [False, True])
def test_a_circle_is_refused(world: World, unseen: bool) -> None:
    world.apply("a", needs=["b"])
    world.apply("b", needs=["c"])
    if unseen:
        world.apply("c", artifact=NOT_LOOKED)
        world.looked("c", Survey(1, "f", callees=("a",)))
        assert world.reason("c") == "ScheduleFailed"
        assert "c calls a calls b calls c; expected no cycle" in message(world, "c")
        return
    with pytest.raises(Conflict, match="c calls a calls b calls c; expected no cycle"):
        world.apply("c", needs=["a"])
    with pytest.raises(Conflict, match="d calls d"):
        world.apply("d", needs=["d"])
    assert "d" not in world.state.seats.models


def test_whoever_calls_nobody_any_more_is_free(world: World) -> None:
    world.apply("caller", needs=["add"])
    world.apply("caller")
    assert where(world, "caller")
    assert world.state.seats.callers == {}


def test_it_is_known_after_a_restart(world: World) -> None:
    world.apply("add")
    world.apply("scale")
    world.apply("ensemble", artifact=ENSEMBLE, needs=["add"])
    again = reread(world)
    assert again.model("ensemble").callees == ("add", "scale")
    assert again.state.seats.callers == {"add": {"ensemble"}, "scale": {"ensemble"}}


def test_those_that_wait_for_bytes_are_not_kept_waiting_by_a_caller(world: World) -> None:
    world.apply("caller", needs=["missing"], memory=1)
    world.apply("large", memory="9M", replicas=3)
    world.apply("waits", memory="4M")
    assert where(world, "waits") == []
    world.apply("large", memory="5M", replicas=3)
    assert where(world, "waits")
    assert len(where(world, "large")) == 3


def test_a_callee_that_is_registered_but_not_placed_is_not_said_to_be_unknown(world: World) -> None:
    world.apply("caller", needs=["scale"])
    assert "'scale', which is not registered" in message(world, "caller")
    world.apply("scale", requirements=["nobody-offers-this"])
    assert "not registered" not in message(world, "caller")
    assert "'scale', which the model calls" in message(world, "caller")
