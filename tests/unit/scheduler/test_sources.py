"""Models whose files are elsewhere: sources that do not answer, are gone, or change, and what arrives from them."""

from __future__ import annotations

import pytest

from overbook.artifacts.survey import NotNow, Survey
from overbook.placement import Unseen
from overbook.scheduler.manifests_in import arrived, refreshed
from overbook.scheduler.records import Role
from tests.unit.scheduler.world import MB, World, a_report

URI = "s3://bucket/iris"
FOUND = Survey(MB, "f1")
AWAY = NotNow("its source is away")


def a_world() -> World:
    world = World()
    world.server()
    world.hello()
    return world


def events(world: World) -> list[str]:
    return [each.reason for each in world.last.notes]


def test_a_new_model_whose_source_is_away_waits_with_the_reason() -> None:
    world = a_world()
    unseen = Unseen("its source is away; it is asked again", asked=True)
    world.apply("iris", storageUri=URI, memory=None, artifact=unseen)
    condition = world.model("iris").condition
    assert condition is not None
    assert condition.message == f"waiting for its source: {unseen.reason}"
    assert world.seats("iris") == {}
    assert world.state.verdict("iris").reason == unseen.reason
    world.looked("iris", AWAY)
    assert world.state.verdict("iris").reason == unseen.reason
    assert world.state.verdict("iris").waiting
    world.looked("iris", FOUND)
    assert world.seats("iris") == {"mlserver/0": Role.ASSIGNED}
    world.check()


def test_a_known_model_whose_source_is_away_stays_as_it_is() -> None:
    world = a_world()
    world.apply("iris", storageUri=URI, artifact=FOUND)
    world.report("mlserver/0", "iris")
    again = world.apply("iris", storageUri=URI, artifact=Unseen("its source is away"))
    assert again.action == "unchanged"
    assert world.seats("iris") == {"mlserver/0": Role.ASSIGNED}
    assert world.model("iris").unseen is None
    world.check()


def test_another_address_that_nobody_has_seen_waits() -> None:
    world = a_world()
    world.apply("iris", storageUri=URI, artifact=FOUND)
    world.apply("iris", storageUri="s3://bucket/other", artifact=Unseen("its source is away"))
    assert world.model("iris").unseen is not None
    assert world.model("iris").fingerprint == ""


def test_what_arrived_tells_more_than_a_listing_and_stays_known() -> None:
    """Bytes unpacked, whom it calls, what it is made for: a later apply has only the listing again."""
    world = a_world()
    world.apply("iris", storageUri=URI, memory=None, artifact=Survey(MB, "f1"))
    found = Survey(3 * MB, "", "mlserver", ("scale",))
    world.report("mlserver/0", "iris", a_report(found=found))
    model = world.model("iris")
    assert (model.artifact_bytes, model.made_for, model.callees) == (3 * MB, "mlserver", ("scale",))
    assert model.fingerprint == "f1"
    world.apply("iris", storageUri=URI, memory=None, replicas=2, artifact=Survey(MB, "f1"))
    model = world.model("iris")
    assert (model.artifact_bytes, model.made_for, model.callees) == (3 * MB, "mlserver", ("scale",))
    world.check()


def test_what_arrived_of_an_older_content_tells_nothing() -> None:
    world = a_world()
    world.apply("iris", storageUri=URI, memory=None, artifact=Survey(MB, "f1"))
    world.apply("iris", storageUri=URI, memory=None, artifact=Survey(MB, "f2"))
    found = Survey(3 * MB, "", "mlserver", ("scale",))
    world.report("mlserver/0", "iris", a_report(1, found=found))
    assert world.model("iris").artifact_bytes == MB
    assert world.model("iris").callees == ()


def test_a_circle_that_arrives_is_refused() -> None:
    world = a_world()
    world.apply("iris", storageUri=URI, artifact=FOUND)
    world.apply("caller", needs=["iris"])
    arrived(world.state, world.model("iris"), Survey(MB, "", "", ("caller",)))
    assert world.model("iris").callees == ()
    world.check()


@pytest.mark.parametrize(
    ("found", "generation", "reason"),
    [
        (FOUND, 1, ""),
        (Survey(2 * MB, "f2"), 2, ""),
        (AWAY, 1, "SourceNotAsked"),
        ("nothing is there any more", 1, "SourceNotAsked"),
        (Survey(MB, "f2", callees=("iris",)), 1, "SourceNotFollowed"),
    ],
)
def test_a_source_that_is_followed(
    found: Survey | NotNow | str, generation: int, reason: str
) -> None:
    world = a_world()
    world.apply("iris", storageUri=URI, memory=None, artifact=FOUND, refresh="1m")
    refreshed(world.state, "iris", world.model("iris").needs.artifact, found)
    world.settle()
    assert world.model("iris").generation == generation
    assert [each for each in events(world) if each.startswith("Source")] == (
        [reason] if reason else []
    )
    assert world.seats("iris") == {"mlserver/0": Role.ASSIGNED}
    world.check()


def test_what_was_asked_of_another_address_is_passed_over() -> None:
    world = a_world()
    world.apply("iris", storageUri=URI, artifact=FOUND)
    before = world.model("iris").needs.artifact
    world.apply("iris", storageUri="s3://bucket/other", artifact=FOUND)
    refreshed(world.state, "iris", before, Survey(MB, "f9"))
    refreshed(world.state, "nobody", before, Survey(MB, "f9"))
    assert world.model("iris").fingerprint == "f1"


def test_another_secret_is_no_other_content() -> None:
    world = a_world()
    world.apply("iris", storageUri=URI, artifact=FOUND)
    world.apply("iris", storageUri=URI, artifact=FOUND, secretName="mine")
    assert world.model("iris").content_generation == 1
    assert world.model("iris").needs.artifact.secret == "mine"
