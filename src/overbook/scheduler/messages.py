"""The seats as wire messages, and agents' reports as records. Conversions only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeVar

from overbook.access.tokens import Token
from overbook.artifacts.survey import Survey
from overbook.artifacts.transfer import Transferred
from overbook.manifests.plain_text import plain_text
from overbook.manifests.quantities import MAX_BYTES
from overbook.manifests.specs import Attachment, ServerEnvironment
from overbook.placement import ReplicaId
from overbook.scheduler.records import (
    ArtifactAddress,
    DiskUsage,
    ForeignModel,
    Hello,
    Model,
    News,
    Report,
    Role,
    ServerReport,
)
from overbook.scheduler.state import State
from overbook.wire import common_pb2
from overbook.wire import scheduler_pb2 as pb
from overbook.wire.channel import SYNC_CHUNK

T = TypeVar("T")

_READINESS: Final = {
    None: pb.CatalogueModel.UNKNOWN,
    True: pb.CatalogueModel.READY,
    False: pb.CatalogueModel.NOT_READY,
}


def chunks(items: Sequence[T]) -> Iterator[tuple[Sequence[T], bool]]:
    """Pieces of at most SYNC_CHUNK, and whether each is the last; one empty piece for nothing."""
    for start in range(0, max(len(items), 1), SYNC_CHUNK):
        yield items[start : start + SYNC_CHUNK], start + SYNC_CHUNK >= len(items)


def ref(replica: ReplicaId) -> common_pb2.ReplicaRef:
    return common_pb2.ReplicaRef(server=replica.server, replica=replica.replica)


def assigned_model(model: Model, *, pinned: bool) -> pb.AssignedModel:
    """``pinned``: also for a model that calls it."""
    needs = model.needs
    return pb.AssignedModel(
        name=model.name,
        generation=model.generation,
        storage_uri=needs.storage_uri,
        fingerprint=model.fingerprint,
        requirements=needs.requirements,
        memory_bytes=needs.memory,
        pinned=pinned,
        priority=needs.priority,
        keep_alive_seconds=needs.keep_alive,
        artifact_version=needs.artifact.version,
        take_unverified=not needs.verify,
        callees=model.callees,
        parameters=dict(needs.parameters),
        secret=needs.secret,
    )


def artifact(address: ArtifactAddress) -> pb.Artifact:
    return pb.Artifact(
        storage_uri=address.storage_uri, secret=address.secret, artifact_version=address.version
    )


def secrets(state: State) -> pb.Secrets:
    """All that could be opened."""
    return pb.Secrets(
        secrets=[
            pb.Secret(
                name=name, remote=remote.name, type=remote.type, parameters=dict(remote.parameters)
            )
            for name, stored in sorted(state.secrets.items())
            if (remote := stored.remote) is not None
        ]
    )


def access(tokens: Iterable[Token], key: bytes, *, asked: bool) -> pb.Access:
    """What gateways have to know of all tokens."""
    return pb.Access(
        asked=asked,
        key=key,
        tokens=[
            pb.AccessToken(
                name=each.name,
                role=each.role.value,
                models=each.models,
                expires=each.expires,
                digest=each.digest,
                rate=each.rate,
                waiting=each.waiting,
            )
            for each in tokens
        ],
    )


def assignments(
    state: State, replica: ReplicaId, names: Iterable[str]
) -> tuple[list[pb.AssignedModel], list[str]]:
    """Of ``names``: what the replica holds or shall hold, and what it shall let go."""
    kept: list[pb.AssignedModel] = []
    revoked: list[str] = []
    for name in names:
        model = state.seats.models.get(name)
        role = None if model is None else model.seats.get(replica)
        if model is None or role is None or role is Role.REVOKING:
            revoked.append(name)
        else:
            kept.append(assigned_model(model, pinned=bool(state.seats.pinned_by(model))))
    return kept, revoked


def catalogue_models(
    state: State, names: Iterable[str]
) -> tuple[list[pb.CatalogueModel], list[str]]:
    """Of ``names``: what gateways may route, and what they must forget."""
    kept: list[pb.CatalogueModel] = []
    removed: list[str] = []
    for name in names:
        model = state.seats.models.get(name)
        if model is None or model.deleting:
            removed.append(name)
            continue
        routes = state.seats.routes(model)
        kept.append(
            pb.CatalogueModel(
                name=name,
                generation=model.generation,
                replicas=[ref(each) for each in routes],
                reason="" if routes else model.reason,
                activation_timeout_seconds=model.needs.activation_timeout or 0.0,
                readiness=_READINESS[model.readiness.ready],
                not_ready=model.readiness.reason,
            )
        )
    return kept, removed


def catalogue_replicas(
    state: State, replicas: Iterable[ReplicaId]
) -> tuple[list[pb.CatalogueReplica], list[common_pb2.ReplicaRef]]:
    """Of ``replicas``: where their agents are, and which are no more (or were never there)."""
    kept: list[pb.CatalogueReplica] = []
    removed: list[common_pb2.ReplicaRef] = []
    for replica_id in replicas:
        replica = state.seats.replicas.get(replica_id)
        if replica is None or replica.hello is None:
            removed.append(ref(replica_id))
            continue
        server = state.seats.servers.get(replica_id.server)
        kept.append(
            pb.CatalogueReplica(
                ref=ref(replica_id),
                agent_target=replica.hello.target,
                runtime=replica.hello.runtime,
                allow=() if server is None else server.allow,
            )
        )
    return kept, removed


def server_list(state: State) -> pb.ServerListUpdate:
    return pb.ServerListUpdate(
        servers=[
            pb.ServerSpec(
                name=server.name,
                runtime=server.runtime,
                replicas=state.running_replicas(server),
                memory_bytes=server.memory,
                overcommit_percent=server.overcommit,
                extra_capabilities=server.extra_capabilities,
                attachment=attachment(server.attachment),
                environment=environment(server.environment),
                deny_pickle=server.deny_pickle,
            )
            for server in sorted(state.seats.servers.values(), key=lambda each: each.name)
        ]
    )


def attachment(given: Attachment | None) -> pb.Attachment | None:
    if given is None:
        return None
    return pb.Attachment(
        rest=given.address.rest,
        grpc=given.address.grpc,
        repository_path=given.repository.path,
        server_path=given.repository.server_path or "",
    )


def environment(given: ServerEnvironment | None) -> pb.Environment | None:
    if given is None:
        return None
    return pb.Environment(
        packages=given.packages or (),
        requirements=given.requirements or "",
        archive=given.archive or "",
    )


def news_of(message: pb.ReplicaNews) -> tuple[ReplicaId, News | None]:
    replica = ReplicaId(message.replica.server, message.replica.replica)
    return replica, News(plain_text(message.text), message.failed) if message.text else None


def hello_of(message: pb.AgentHello) -> tuple[ReplicaId, Hello]:
    replica = ReplicaId(message.replica.server, message.replica.replica)
    return replica, Hello(
        runtime=message.runtime,
        capabilities=frozenset(message.capabilities),
        memory=message.memory_bytes,
        target=message.agent_target,
        separate_process=frozenset(message.separate_process),
        machine=message.machine,
    )


def report_of(message: pb.ModelReport) -> tuple[str, Report]:
    return message.name, Report(
        generation=message.generation,
        state=message.state,
        available=message.available,
        failed=message.failed,
        declared=message.declared_bytes if message.HasField("declared_bytes") else None,
        measured=message.measured_bytes if message.HasField("measured_bytes") else None,
        charged=message.charged_bytes,
        # The store's integers are signed.
        size=min(message.size_bytes, MAX_BYTES),
        last_used=message.last_used,
        in_flight=message.in_flight,
        loads=message.loads,
        evictions=message.evictions,
        last_error=plain_text(message.last_error),
        serving_generation=message.serving_generation,
        unverified=plain_text(message.unverified),
        final=message.final,
        retry_at=message.retry_at,
        warnings=tuple(map(plain_text, message.warnings)),
        transfer=_transfer(message),
        files_here=message.files_here,
        found=_found(message),
    )


def _transfer(message: pb.ModelReport) -> Transferred | None:
    if not message.HasField("transfer"):
        return None
    told = message.transfer
    return Transferred(
        done=told.done,
        total=told.total if told.HasField("total") else None,
        rate=told.bytes_per_second,
        left=told.seconds_left if told.HasField("seconds_left") else None,
    )


def _found(message: pb.ModelReport) -> Survey | None:
    if not message.HasField("found"):
        return None
    told = message.found
    return Survey(min(told.bytes, MAX_BYTES), "", told.made_for, tuple(told.callees))


def server_report_of(message: pb.ServerReport) -> ServerReport:
    return ServerReport(
        budget=message.budget_bytes,
        resident=message.resident_bytes,
        process=message.process_bytes if message.HasField("process_bytes") else None,
        base=message.base_bytes if message.HasField("base_bytes") else None,
        resident_models=message.resident_models,
        state=message.state,
        message=plain_text(message.message),
        pid=message.pid,
        rest=message.rest_address,
        grpc=message.grpc_address,
        foreign=tuple(
            ForeignModel(
                plain_text(each.name), each.state, each.bytes if each.HasField("bytes") else None
            )
            for each in message.foreign
        ),
        disk=_disk(message),
    )


def _disk(message: pb.ServerReport) -> DiskUsage | None:
    if not message.HasField("disk"):
        return None
    told = message.disk
    return DiskUsage(told.used, told.coming, told.firm, told.budget)
