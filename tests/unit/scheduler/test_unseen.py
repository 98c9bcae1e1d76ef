"""Models at whose files nobody could look when they were applied."""

from __future__ import annotations

from overbook.artifacts.survey import Survey
from overbook.scheduler.manifests_in import NOT_LOOKED, looked
from overbook.scheduler.records import ArtifactAddress, Role
from tests.unit.scheduler.test_rows import reread
from tests.unit.scheduler.world import MB, World

OTHER = Survey(2 * MB, "f2", "mlserver")


def message(world: World, name: str) -> str:
    condition = world.model(name).condition
    assert condition is not None
    return condition.message


def test_it_waits_for_a_look_and_then_has_a_place() -> None:
    world = World()
    world.server()
    world.apply("iris", memory=None, artifact=NOT_LOOKED)
    world.hello()
    assert world.reason("iris") == "ModelProgressing"
    assert "no agent is connected to look at its files" in message(world, "iris")
    verdict = world.state.verdict("iris")
    assert (verdict.chosen, verdict.waiting, verdict.reason) == ((), True, NOT_LOOKED.reason)
    assert [each.reason for each in verdict.decisions] == [NOT_LOOKED.reason]
    world.looked("iris", OTHER)
    assert world.seats("iris") == {"mlserver/0": Role.ASSIGNED}
    model = world.model("iris")
    assert (model.generation, model.size, model.fingerprint, model.made_for) == (
        1,
        2 * MB,
        "f2",
        "mlserver",
    )
    world.check()


def test_those_that_wait_for_bytes_are_not_kept_waiting_by_it() -> None:
    world = World()
    world.server(overcommitPercentage=0)
    world.hello()
    world.apply("large", memory="9M")
    world.apply("unseen", memory=None, artifact=NOT_LOOKED)
    world.apply("waits", memory="3M")
    world.delete("large")
    world.gone("mlserver/0", "large")
    assert world.seats("waits") == {"mlserver/0": Role.ASSIGNED}
    world.check()


def test_what_is_no_model_is_said_and_looked_at_again_when_applied() -> None:
    world = World()
    world.server()
    world.apply("iris", artifact=NOT_LOOKED)
    world.hello()
    world.looked("iris", "'/m/iris' does not exist")
    assert world.reason("iris") == "ScheduleFailed"
    assert message(world, "iris") == "spec.storageUri: '/m/iris' does not exist"
    assert not world.state.verdict("iris").waiting
    assert world.apply("iris").action == "configured"
    assert world.seats("iris") == {"mlserver/0": Role.ASSIGNED}
    world.check()


def test_the_same_address_is_what_it_was_until_somebody_looks() -> None:
    world = World()
    world.server()
    world.hello()
    world.apply("iris", memory=None)
    world.bye("mlserver/0")
    assert world.apply("iris", memory=None, artifact=NOT_LOOKED).action == "unchanged"
    assert (world.model("iris").size, world.model("iris").generation) == (MB, 1)
    world.hello()
    world.looked("iris")
    assert (world.model("iris").generation, world.model("iris").unseen) == (1, None)
    world.apply("iris", memory=None, artifact=NOT_LOOKED)
    world.looked("iris", OTHER)
    model = world.model("iris")
    assert (model.generation, model.content_generation, model.fingerprint) == (2, 2, "f2")
    assert world.seats("iris") == {"mlserver/0": Role.ASSIGNED}
    world.check()


def test_another_address_goes_on_where_it_is_and_is_told_once_it_is_known() -> None:
    world = World()
    world.server(replicas=2)
    world.hello("mlserver/0")
    world.hello("mlserver/1")
    world.apply("iris", memory=None)
    (here,) = world.model("iris").seats
    world.apply("iris", memory=None, storageUri="/m/new", replicas=2, artifact=NOT_LOOKED)
    assert world.model("iris").seats == {here: Role.ASSIGNED}
    assert (world.model("iris").generation, world.model("iris").fingerprint) == (2, "")
    world.looked("iris", OTHER)
    assert len(world.model("iris").seats) == 2
    assert "iris" in world.last.told[here]
    assert (world.model("iris").generation, world.model("iris").fingerprint) == (2, "f2")
    world.check()


def test_files_that_became_too_large_leave_what_serves() -> None:
    world = World()
    world.server()
    world.hello()
    world.apply("iris", memory=None)
    world.apply("iris", memory=None, artifact=NOT_LOOKED)
    world.looked("iris", Survey(11 * MB, "huge"))
    assert (world.model("iris").generation, world.model("iris").fingerprint) == (1, "f1")
    assert [note.reason for note in world.last.notes] == ["ScheduleFailed"]
    assert world.model("iris").unseen is None
    world.check()


def test_a_look_that_comes_too_late_changes_nothing() -> None:
    world = World()
    world.server()
    world.hello()
    world.apply("iris", artifact=NOT_LOOKED)
    world.apply("iris", storageUri="/m/other")
    world.looked("iris", OTHER)
    assert world.model("iris").fingerprint == "f1"
    world.apply("iris", storageUri="/m/other", secretName="new", artifact=NOT_LOOKED)
    looked(world.state, "iris", ArtifactAddress("/m/other", "old"), OTHER)
    assert (world.model("iris").unseen, world.model("iris").fingerprint) == (NOT_LOOKED, "f1")
    looked(world.state, "gone", ArtifactAddress("/m/gone"), OTHER)
    world.settle()
    assert list(world.state.seats.models) == ["iris"]


def test_it_is_still_to_be_looked_at_after_a_restart() -> None:
    world = World()
    world.server()
    world.apply("iris", artifact=NOT_LOOKED)
    world.apply("seen")
    again = reread(world)
    assert again.model("iris").unseen == NOT_LOOKED
    assert again.model("seen").unseen is None
