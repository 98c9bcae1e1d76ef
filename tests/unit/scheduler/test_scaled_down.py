"""Models with `replicas: 0`: registered, served nowhere, and back when somebody asks for that."""

from __future__ import annotations

from overbook.placement.place import SCALED_DOWN
from overbook.scheduler.messages import catalogue_models
from overbook.scheduler.records import Role
from overbook.wire import scheduler_pb2 as pb
from tests.unit.scheduler.world import MB, World


def _running() -> World:
    world = World()
    world.server()
    world.hello()
    world.apply("iris")
    world.report("mlserver/0", "iris")
    return world


def _told_to_gateways(world: World) -> tuple[int, str]:
    (told,), _ = catalogue_models(world.state, ["iris"])
    assert told.readiness == pb.CatalogueModel.NOT_READY or told.replicas
    return len(told.replicas), told.reason


def test_it_leaves_at_once_and_comes_back() -> None:
    world = _running()
    assert world.apply("iris", replicas=0).action == "configured"
    assert world.seats("iris") == {"mlserver/0": Role.REVOKING}
    assert world.reason("iris") == "ModelScaledDown"
    assert "ModelScaledDown" in [note.reason for note in world.last.notes]
    assert _told_to_gateways(world) == (0, SCALED_DOWN)
    world.gone("mlserver/0", "iris")
    assert world.seats("iris") == {}
    assert world.state.seats.replicas[next(iter(world.state.seats.replicas))].registered == 0
    world.apply("iris", replicas=1)
    world.report("mlserver/0", "iris")
    assert world.reason("iris") == "ModelAvailable"
    assert _told_to_gateways(world) == (1, "")
    world.check()


def test_nothing_waits_for_it_and_it_takes_no_room() -> None:
    world = _running()
    world.apply("other", replicas=0, memory=100 * MB, minReplicas=0)
    assert world.reason("other") == "ModelScaledDown"
    assert "other" not in list(world.state.seats.pending.names())
    verdict = world.state.verdict("other")
    assert (verdict.placed, verdict.complete, verdict.waiting) == (True, True, False)
    assert [each.reason for each in verdict.decisions] == [SCALED_DOWN]
    notes = [note.reason for note in world.last.notes]
    assert "ScheduleFailed" not in notes
    world.bye("mlserver/0")
    world.hello()
    assert world.seats("other") == {}
    world.check()


def test_it_can_be_deleted() -> None:
    world = _running()
    world.apply("iris", replicas=0)
    world.gone("mlserver/0", "iris")
    world.delete("iris")
    assert "iris" not in world.state.seats.models
