from __future__ import annotations

from overbook.gateway.catalogue import Catalogue
from overbook.wire import scheduler_pb2
from overbook.wire.common_pb2 import ReplicaRef


def model(name: str, *replicas: int, reason: str = "") -> scheduler_pb2.CatalogueModel:
    refs = [ReplicaRef(server="s", replica=number) for number in replicas]
    return scheduler_pb2.CatalogueModel(
        name=name,
        generation=1,
        replicas=refs,
        reason=reason,
        readiness=scheduler_pb2.CatalogueModel.READY
        if refs
        else scheduler_pb2.CatalogueModel.NOT_READY,
    )


def replica(number: int, target: str) -> scheduler_pb2.CatalogueReplica:
    return scheduler_pb2.CatalogueReplica(
        ref=ReplicaRef(server="s", replica=number), agent_target=target, runtime="mlserver"
    )


async def test_a_sync_in_pieces_replaces_everything_when_complete() -> None:
    catalogue = Catalogue()
    first = scheduler_pb2.CatalogueUpdate(
        reset=True, models=[model("a", 0), model("b", 0)], replicas=[replica(0, "t")], complete=True
    )
    catalogue.apply(first)
    assert set(catalogue.models()) == {"a", "b"}
    catalogue.apply(scheduler_pb2.CatalogueUpdate(reset=True, models=[model("b", 1)]))
    # Half a sync takes nothing away.
    assert set(catalogue.models()) == {"a", "b"}
    catalogue.apply(
        scheduler_pb2.CatalogueUpdate(
            models=[model("c")], replicas=[replica(1, "u")], complete=True
        )
    )
    assert set(catalogue.models()) == {"b", "c"}
    assert set(catalogue.replicas()) == {"s/1"}


async def test_a_model_may_say_how_long_its_requests_wait() -> None:
    catalogue = Catalogue()
    slow = model("slow", 0)
    slow.activation_timeout_seconds = 90.0
    catalogue.apply(
        scheduler_pb2.CatalogueUpdate(reset=True, models=[slow, model("a", 0)], complete=True)
    )
    entries = [catalogue.find("slow"), catalogue.find("a")]
    assert [entry and entry.activation_timeout for entry in entries] == [90.0, None]


async def test_what_a_server_allows_may_change() -> None:
    catalogue = Catalogue()
    changes: list[frozenset[str]] = []
    catalogue.on_replicas = lambda: changes.append(catalogue.replicas()["s/0"].allow)
    for words in (["log"], ["log"], []):
        told = replica(0, "t")
        told.allow.extend(words)
        catalogue.apply(scheduler_pb2.CatalogueUpdate(replicas=[told], complete=True))
    assert changes == [{"log"}, frozenset()]


async def test_known_only_after_a_complete_sync() -> None:
    catalogue = Catalogue()
    catalogue.apply(scheduler_pb2.CatalogueUpdate(reset=True, models=[model("a", 0)]))
    assert not catalogue._known.is_set()
    catalogue.apply(scheduler_pb2.CatalogueUpdate(complete=True))
    await catalogue.wait_known()


async def test_single_changes() -> None:
    catalogue = Catalogue()
    told: list[set[str]] = []
    catalogue.on_replicas = lambda: told.append(set(catalogue.replicas()))
    catalogue.apply(
        scheduler_pb2.CatalogueUpdate(
            reset=True, models=[model("a")], replicas=[replica(0, "t")], complete=True
        )
    )
    catalogue.apply(scheduler_pb2.CatalogueUpdate(models=[model("a", reason="no room")]))
    entry = catalogue.find("a")
    assert entry is not None
    assert (entry.available, entry.reason) == (False, "no room")
    gone = scheduler_pb2.CatalogueUpdate(
        removed=["a", "never"], removed_replicas=[ReplicaRef(server="s", replica=0)]
    )
    catalogue.apply(gone)
    assert catalogue.find("a") is None
    assert told == [{"s/0"}, set()]


def _told(
    readiness: scheduler_pb2.CatalogueModel.Readiness.ValueType, why: str = ""
) -> scheduler_pb2.CatalogueUpdate:
    told = model("m", 0)
    told.readiness, told.not_ready = readiness, why
    return scheduler_pb2.CatalogueUpdate(models=[told])


def test_a_model_that_failed_is_not_available_and_says_why() -> None:
    catalogue = Catalogue()
    catalogue.apply(_told(scheduler_pb2.CatalogueModel.NOT_READY, "s/0: bad pickle"))
    entry = catalogue.find("m")
    assert entry is not None
    assert (entry.available, entry.reason, entry.replicas) == (False, "s/0: bad pickle", ("s/0",))


def test_while_nobody_tells_what_was_known_holds() -> None:
    catalogue = Catalogue()
    catalogue.apply(_told(scheduler_pb2.CatalogueModel.UNKNOWN))
    entry = catalogue.find("m")
    assert entry is not None
    assert not entry.available
    assert "have not reported" in entry.reason
    catalogue.apply(_told(scheduler_pb2.CatalogueModel.READY))
    catalogue.apply(_told(scheduler_pb2.CatalogueModel.UNKNOWN))
    entry = catalogue.find("m")
    assert entry is not None
    assert (entry.available, entry.reason) == (True, "")


async def test_who_was_registered_or_deleted_is_told() -> None:
    catalogue = Catalogue()
    told: list[set[str]] = []
    catalogue.on_models = lambda names: told.append({*names} | {f"{len(list(catalogue.models()))}"})
    update = scheduler_pb2.CatalogueUpdate
    catalogue.apply(update(reset=True, models=[model("a"), model("b")], complete=True))
    catalogue.apply(update(models=[model("a", 0)]))
    catalogue.apply(update(models=[model("c")], removed=["a", "never"]))
    catalogue.apply(update(reset=True, models=[model("b"), model("d")]))
    catalogue.apply(update(complete=True))
    assert told == [{"a", "b", "2"}, {"a", "c", "2"}, {"d", "3"}, {"c", "2"}]
    assert "b" in catalogue
    assert "a" not in catalogue


def test_which_kind_of_server_has_a_model() -> None:
    catalogue = Catalogue()
    models = [model("a", 7, 0), model("b"), model("c", 7)]
    catalogue.apply(scheduler_pb2.CatalogueUpdate(models=models, replicas=[replica(0, "t")]))
    assert [catalogue.kind(name) for name in ("a", "b", "c", "d")] == ["mlserver", "", "", ""]
