"""The JSON that others read, field by field."""

from __future__ import annotations

import json

from overbook.artifacts.transfer import Transferred
from overbook.scheduler import bodies, status
from overbook.scheduler.amounts import ModelBytes
from overbook.scheduler.events import Event
from overbook.scheduler.records import DiskUsage, ForeignModel
from tests.unit.scheduler.described import description
from tests.unit.scheduler.world import MB, World, a_report, replica


def shown(world: World, name: str) -> bodies.ModelObject:
    return status.model_object(world.model(name), world.state.seats.replicas)


def test_a_model_nobody_reported_yet() -> None:
    world = World()
    world.server()
    world.hello()
    world.apply("iris", requirements=["sklearn"])
    assert shown(world, "iris") == {
        "apiVersion": "overbook.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": "iris", "generation": 1},
        "spec": {"storageUri": "/m/iris", "memory": "1M", "requirements": ["sklearn"]},
        "status": {
            "conditions": [
                {
                    "type": "ModelReady",
                    "status": "False",
                    "reason": "ModelProgressing",
                    "message": "0 of 1 needed replicas available",
                    "lastTransitionTime": "1970-01-01T00:16:45.000Z",
                }
            ],
            "final": False,
            "replicas": [
                {
                    "server": "mlserver",
                    "replica": 0,
                    "state": "cold",
                    "bytes": {"declared": MB, "measured": None, "charged": 0},
                    "lastUsed": None,
                    "inFlight": 0,
                    "loads": 0,
                    "evictions": 0,
                    "lastError": None,
                    "retryAt": None,
                    "unverified": None,
                    "warnings": [],
                    "filesOnDisk": False,
                    "transfer": None,
                }
            ],
        },
    }


def test_a_model_as_its_agent_reports_it() -> None:
    world = World()
    world.server()
    world.hello()
    world.apply("iris")
    report = a_report(
        state=6,
        declared=5,
        measured=7,
        charged=8,
        last_used=1_700_000_000.25,
        in_flight=2,
        loads=3,
        evictions=4,
        last_error='said "no"\n',
        warnings=('saved with "1.6"', "no workers"),
    )
    world.report("mlserver/0", "iris", report)
    assert shown(world, "iris")["status"]["replicas"] == [
        {
            "server": "mlserver",
            "replica": 0,
            "state": "failed",
            "bytes": {"declared": 5, "measured": 7, "charged": 8},
            "lastUsed": "2023-11-14T22:13:20.250Z",
            "inFlight": 2,
            "loads": 3,
            "evictions": 4,
            "lastError": 'said "no"\n',
            "retryAt": None,
            "unverified": None,
            "warnings": ['saved with "1.6"', "no workers"],
            "filesOnDisk": True,
            "transfer": None,
        }
    ]


def test_a_model_whose_files_are_fetched() -> None:
    world = World()
    world.server()
    world.hello()
    world.apply("iris")
    transfer = Transferred(done=5, total=None, rate=2.5, left=None)
    world.report("mlserver/0", "iris", a_report(files_here=False, transfer=transfer))
    (told,) = shown(world, "iris")["status"]["replicas"]
    assert told["filesOnDisk"] is False
    assert told["transfer"] == {
        "done": 5,
        "total": None,
        "bytesPerSecond": 2.5,
        "secondsLeft": None,
    }
    assert not faults(world, "iris")
    world.report("mlserver/0", "iris", a_report(transfer=Transferred(8, 10, 2.5, 0.8)))
    (told,) = shown(world, "iris")["status"]["replicas"]
    assert told["transfer"] == {
        "done": 8,
        "total": 10,
        "bytesPerSecond": 2.5,
        "secondsLeft": 0.8,
    }
    world.report("mlserver/0", "iris", a_report())
    (told,) = shown(world, "iris")["status"]["replicas"]
    assert told["transfer"] is None


def test_how_far_a_fetch_is_nobody_knows_while_its_agent_is_away() -> None:
    world = World()
    world.server()
    world.hello()
    world.apply("iris")
    report = a_report(files_here=False, transfer=Transferred(8, 10, 2.5, 0.8))
    world.report("mlserver/0", "iris", report)
    world.bye("mlserver/0")
    (told,) = shown(world, "iris")["status"]["replicas"]
    assert told["transfer"] is None


def faults(world: World, name: str) -> list[str]:
    """In what a model is not as the API describes it."""
    content = json.dumps(shown(world, name)).encode()
    url = f"/api/v1/models/{name}"
    return description().faults("GET", url, 200, "application/json", content)


def test_where_nothing_is_declared_nothing_is_shown_as_declared() -> None:
    world = World()
    world.server()
    world.hello()
    world.apply("iris", memory=None)
    assert bytes_shown(world, "iris") == {"declared": None, "measured": None, "charged": 0}
    world.report("mlserver/0", "iris", a_report(measured=7, size=7, charged=7))
    assert bytes_shown(world, "iris") == {"declared": None, "measured": 7, "charged": 7}


def bytes_shown(world: World, name: str) -> ModelBytes:
    return shown(world, name)["status"]["replicas"][0]["bytes"]


def test_a_model_without_a_place_and_with_labels() -> None:
    world = World()
    world.apply("iris")
    world.model("iris").metadata = '{"labels":{"team":"a"}}'
    value = shown(world, "iris")
    assert value["metadata"] == {"name": "iris", "generation": 1, "labels": {"team": "a"}}
    assert value["status"]["replicas"] == []
    assert value["status"]["conditions"][0]["reason"] == "ScheduleFailed"


def test_a_server() -> None:
    world = World()
    world.server()
    server = world.state.server("mlserver")
    replicas = world.state.replicas_of("mlserver")
    assert status.server_object(server, replicas)["status"]["replicas"] == [
        {
            "replica": 0,
            "state": "disconnected",
            "address": {"rest": None, "grpc": None},
            "pid": None,
            "bytes": {
                "budget": 10 * MB,
                "registered": 0,
                "resident": 0,
                "process": None,
                "base": None,
            },
            "models": {"registered": 0, "resident": 0},
            "foreignModels": [],
            "disk": None,
        }
    ]
    world.hello()
    world.apply("iris")
    world.server_report(
        "mlserver/0",
        state="ready",
        resident=3,
        process=4,
        base=5,
        resident_models=1,
        pid=6,
        rest="127.0.0.1:1",
        grpc="127.0.0.1:2",
        foreign=(ForeignModel("theirs", "ready"),),
    )
    found = status.server_object(server, replicas)
    assert found["status"]["conditions"][0]["status"] == "True"
    assert found["status"]["replicas"] == [
        {
            "replica": 0,
            "state": "ready",
            "address": {"rest": "127.0.0.1:1", "grpc": "127.0.0.1:2"},
            "pid": 6,
            "bytes": {"budget": 10 * MB, "registered": MB, "resident": 3, "process": 4, "base": 5},
            "models": {"registered": 1, "resident": 1},
            "foreignModels": [{"name": "theirs", "state": "ready", "bytes": None}],
            "disk": None,
        }
    ]
    world.server_report("mlserver/0", state="ready", disk=DiskUsage(4, 3, 2, 10))
    found = status.server_object(server, replicas)
    disk = found["status"]["replicas"][0]["disk"]
    assert disk == {"used": 4, "coming": 3, "firm": 2, "budget": 10}
    content = json.dumps(found).encode()
    url = "/api/v1/servers/mlserver"
    assert not description().faults("GET", url, 200, "application/json", content)


def test_a_verdict_has_every_replica_in_numbers() -> None:
    world = World()
    world.server()
    world.hello()
    world.server("small", memory="1M")
    world.hello("small/0", memory=MB)
    world.apply("iris", memory="2M")
    value = status.verdict_object(world.state.verdict("iris"))
    assert (value["placed"], value["bytes"], value["reason"]) == (True, 2 * MB, "")
    chosen, refused = value["replicas"]
    assert (chosen["server"], chosen["chosen"], chosen["rule"]) == ("mlserver", True, None)
    assert (refused["server"], refused["chosen"], refused["rule"]) == ("small", False, "TooLarge")
    assert refused["bytes"] == {"registered": 0, "limit": 1_200_000, "budget": MB}


def test_an_event() -> None:
    event = Event(7, 0.5, True, "ScheduleFailed", "Model", "iris", str(replica("s/0")), "no room")
    assert status.event_object(event) == {
        "seq": 7,
        "time": "1970-01-01T00:00:00.500Z",
        "type": "Warning",
        "reason": "ScheduleFailed",
        "kind": "Model",
        "name": "iris",
        "replica": "s/0",
        "message": "no room",
    }
