"""What is written and read again is the same."""

from __future__ import annotations

from overbook.artifacts.survey import Survey
from overbook.scheduler.changes import Changes
from overbook.scheduler.manifests_in import Defaults, set_pin
from overbook.scheduler.records import Role
from overbook.scheduler.rows import batch_of, restore
from overbook.scheduler.state import AWAIT_SECONDS
from overbook.scheduler.store import Batch, Snapshot
from tests.unit.scheduler.world import MB, World, a_report, replica


def everything(world: World) -> Batch:
    changes = Changes()
    changes.models.update(world.state.seats.models)
    changes.servers.update(world.state.seats.servers)
    return batch_of(world.state, changes)


def reread(world: World, *, live: bool = False, defaults: Defaults | None = None) -> World:
    batch = everything(world)
    found = World()
    snapshot = Snapshot(batch.servers, batch.models, batch.seats)
    found.state = restore(
        snapshot, defaults or Defaults(), world.now, world.state if live else None
    )
    found.now = world.now
    found.settle()
    found.check()
    return found


def busy_world() -> World:
    world = World()
    world.server(replicas=2, extraCapabilities=["x"])
    world.hello("mlserver/0")
    world.hello("mlserver/1")
    world.apply("two", replicas=2, requirements=["x"], activationTimeout="90s")
    world.apply("guess", memory=None, artifact=Survey(MB, "f9"))
    set_pin(world.state, "guess", True)
    world.settle()
    return world


def test_models_and_servers_come_back_as_they_were() -> None:
    world = busy_world()
    again = reread(world)
    for name in ("two", "guess"):
        before, after = world.model(name), again.model(name)
        assert after.needs == before.needs
        assert after.seats == before.seats
        assert (after.generation, after.fingerprint, after.pin, after.size, after.spec) == (
            before.generation,
            before.fingerprint,
            before.pin,
            before.size,
            before.spec,
        )
    assert again.state.server("mlserver").extra_capabilities == ("x",)
    assert again.registered("mlserver/0") == world.registered("mlserver/0")
    assert everything(again) == everything(world)


def test_who_asks_first_finds_a_condition() -> None:
    world = busy_world()
    written = everything(world)
    snapshot = Snapshot(written.servers, written.models, written.seats)
    state = restore(snapshot, Defaults(), world.now, world.state)
    assert state.seats.models.keys() == world.state.seats.models.keys()
    assert all(model.condition is not None for model in state.seats.models.values())


def test_nothing_is_written_for_having_been_read() -> None:
    assert not reread(busy_world()).last.models


def test_connections_outlive_a_second_reading() -> None:
    world = busy_world()
    world.report("mlserver/0", "two", a_report(available=True))
    again = reread(world, live=True)
    assert again.state.seats.replicas[replica("mlserver/0")].connected
    again.apply("new")
    assert again.seats("new")


def test_a_move_goes_on_after_a_restart() -> None:
    world = World()
    world.server()
    world.hello()
    world.server("other")
    world.hello("other/0")
    world.apply("iris", server="mlserver")
    world.apply("iris", server="other")
    again = reread(world)
    assert again.seats("iris") == {"mlserver/0": Role.LEAVING, "other/0": Role.ASSIGNED}
    again.hello("other/0")
    again.report("other/0", "iris")
    assert again.seats("iris")["mlserver/0"] is Role.REVOKING
    again.hello()
    assert again.seats("iris") == {"other/0": Role.ASSIGNED}


def test_seats_of_replicas_that_are_gone_are_dropped_and_written_so() -> None:
    world = World()
    world.server(replicas=2)
    world.hello("mlserver/1")
    world.now += AWAIT_SECONDS
    world.apply("iris")
    world.server(replicas=1)
    again = reread(world)
    assert again.seats("iris") == {}
    assert again.last.models == {"iris"}
    again.hello()
    assert again.seats("iris") == {"mlserver/0": Role.ASSIGNED}


def test_a_deletion_without_seats_ends_at_the_next_start() -> None:
    world = World()
    world.server(replicas=2)
    world.hello("mlserver/1")
    world.apply("iris")
    world.model("iris").deleting = True
    world.state.seats.pending.discard("iris")
    world.server(replicas=1)
    again = reread(world)
    assert "iris" not in again.state.seats.models
    assert again.last.gone_models == {"iris"}


def test_waiting_models_wait_again() -> None:
    world = World()
    world.apply("iris")
    again = reread(world)
    assert again.reason("iris") == "ScheduleFailed"
    again.server()
    again.hello()
    assert again.seats("iris")


def test_a_model_that_is_served_nowhere_still_says_so() -> None:
    world = World()
    world.server()
    world.apply("iris", replicas=0)
    again = reread(world)
    assert again.model("iris").reason == world.model("iris").reason != ""
    assert again.reason("iris") == "ModelScaledDown"


def test_a_budget_given_by_a_default_outlives_the_default() -> None:
    world = World()
    world.server()
    server = world.state.server("mlserver")
    server.spec = '{"serverConfig":"mlserver"}'
    assert reread(world).state.server("mlserver").memory == 10 * MB
    assert reread(world, defaults=Defaults(7, 50)).state.server("mlserver").memory == 7
    assert reread(world, defaults=Defaults(7, 50)).state.server("mlserver").overcommit == 50
