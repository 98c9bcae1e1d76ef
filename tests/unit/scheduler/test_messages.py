"""What an agent is told of a model: everything that its manifest says about memory."""

from __future__ import annotations

from overbook.placement import ReplicaId
from overbook.scheduler.messages import (
    artifact,
    assigned_model,
    catalogue_models,
    hello_of,
    news_of,
    server_list,
    server_report_of,
)
from overbook.scheduler.records import ForeignModel, News
from overbook.wire import common_pb2 as common
from overbook.wire import scheduler_pb2 as pb
from tests.unit.scheduler.world import World


def test_an_assignment_carries_pin_priority_and_keep_alive() -> None:
    world = World()
    world.apply("iris", pinned=True, priority=3, keepAlive="1h30m")
    told = assigned_model(world.model("iris"), pinned=True)
    assert (told.pinned, told.priority, told.keep_alive_seconds) == (True, 3, 5400.0)


def test_an_assignment_carries_the_parameters_and_another_value_is_another_content() -> None:
    world = World()
    world.apply("iris", parameters=[{"name": "b", "value": "2"}, {"name": "a", "value": "1"}])
    assert dict(assigned_model(world.model("iris"), pinned=True).parameters) == {"a": "1", "b": "2"}
    before = world.model("iris").content_generation
    world.apply("iris", parameters=[{"name": "a", "value": "1"}, {"name": "b", "value": "2"}])
    assert world.model("iris").content_generation == before
    world.apply("iris", parameters=[{"name": "a", "value": "1"}, {"name": "b", "value": "3"}])
    assert world.model("iris").content_generation > before


def test_an_assignment_names_its_secret_and_another_one_is_no_other_content() -> None:
    world = World()
    world.apply("iris", storageUri="s3://b/iris", secretName="minio", artifactVersion=2)
    told = assigned_model(world.model("iris"), pinned=False)
    assert (told.secret, told.artifact_version) == ("minio", "2")
    asked = artifact(world.model("iris").needs.artifact)
    assert asked == pb.Artifact(storage_uri="s3://b/iris", secret="minio", artifact_version="2")
    before = world.model("iris").content_generation
    world.apply("iris", storageUri="s3://b/iris", secretName="other", artifactVersion=2)
    model = world.model("iris")
    assert (model.generation, model.content_generation) == (2, before)
    assert assigned_model(model, pinned=False).secret == "other"
    world.apply("iris", storageUri="s3://b/iris")
    assert artifact(model.needs.artifact) == pb.Artifact(storage_uri="s3://b/iris")


def test_gateways_hear_how_long_requests_wait() -> None:
    world = World()
    world.apply("patient", activationTimeout="10m")
    world.apply("plain")
    (patient, plain), _ = catalogue_models(world.state, ["patient", "plain"])
    assert (patient.activation_timeout_seconds, plain.activation_timeout_seconds) == (600.0, 0.0)


def test_the_list_of_servers_tells_what_is_attached() -> None:
    world = World()
    world.server("ours")
    world.server(
        "theirs",
        serverConfig="triton",
        address={"rest": "h:1", "grpc": "h:2"},
        modelRepository={"path": "/srv/models"},
    )
    ours, theirs = server_list(world.state).servers
    assert not ours.HasField("attachment")
    told = theirs.attachment
    assert (told.rest, told.grpc, told.repository_path, told.server_path) == (
        "h:1",
        "h:2",
        "/srv/models",
        "",
    )


def test_what_an_agent_cannot_see_is_not_zero() -> None:
    blind = server_report_of(pb.ServerReport(foreign=[pb.ForeignModel(name="a", state="ready")]))
    assert (blind.process, blind.base) == (None, None)
    assert blind.foreign == (ForeignModel("a", "ready", None),)
    seen = server_report_of(
        pb.ServerReport(process_bytes=0, base_bytes=5, foreign=[pb.ForeignModel(name="a", bytes=7)])
    )
    assert (seen.process, seen.base, seen.foreign_bytes) == (0, 5, 7)


def test_an_agent_says_what_costs_a_process() -> None:
    _, hello = hello_of(pb.AgentHello(separate_process=["onnx", "python"]))
    assert hello.separate_process == {"onnx", "python"}


def test_the_list_of_servers_tells_environments_of_their_own() -> None:
    world = World()
    world.server("ours")
    world.server("older", environment={"packages": ["scikit-learn==1.6.1"]})
    world.server("packed", environment={"archive": "/env.tar.gz"})
    older, ours, packed = server_list(world.state).servers
    assert not ours.HasField("environment")
    assert list(older.environment.packages) == ["scikit-learn==1.6.1"]
    assert (packed.environment.archive, packed.environment.requirements) == ("/env.tar.gz", "")


def test_news_without_a_text_are_none() -> None:
    where = common.ReplicaRef(server="a", replica=1)
    told = pb.ReplicaNews(replica=where, text="no network", failed=True)
    assert news_of(told) == (ReplicaId("a", 1), News("no network", failed=True))
    assert news_of(pb.ReplicaNews(replica=where))[1] is None
