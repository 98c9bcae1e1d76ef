"""Between the state and the store's rows, both ways. No I/O."""

from __future__ import annotations

import json
from collections.abc import Sequence

from overbook.access.roles import Role
from overbook.access.tokens import Token
from overbook.manifests.specs import ModelSpec, ServerManifest, ServerSpec
from overbook.placement import Provider, ReplicaId
from overbook.scheduler.changes import Changes
from overbook.scheduler.manifests_in import NOT_LOOKED, Defaults, build_server
from overbook.scheduler.records import Model, Needs
from overbook.scheduler.records import Role as SeatRole
from overbook.scheduler.state import State
from overbook.scheduler.store import (
    Batch,
    ModelRow,
    SeatRow,
    SecretRow,
    ServerRow,
    Snapshot,
    TokenRow,
)


def batch_of(state: State, changes: Changes) -> Batch:
    """Everything that the changes ask to be written, as it is in the state now."""
    seats = state.seats
    models = [
        seats.models[name]
        for name in sorted(changes.models | changes.hints)
        if name in seats.models
    ]
    return Batch(
        models=[_model_row(model) for model in models],
        seats=[
            SeatRow(model.name, seat.server, seat.replica, int(role))
            for model in models
            for seat, role in model.seats.items()
        ],
        servers=[
            ServerRow(
                server.name,
                server.api_version,
                server.generation,
                server.metadata,
                server.spec,
                server.created,
                server.memory,
            )
            for server in (seats.servers.get(name) for name in sorted(changes.servers))
            if server is not None
        ],
        gone_models=[name for name in changes.gone_models if name not in seats.models],
        gone_servers=[name for name in changes.gone_servers if name not in seats.servers],
        secrets=[
            SecretRow(name, stored.sealed, stored.updated)
            for name in sorted(changes.secrets)
            if (stored := state.secrets.get(name)) is not None
        ],
        gone_secrets=[name for name in changes.gone_secrets if name not in state.secrets],
        tokens=[
            _token_row(token)
            for name in sorted(changes.tokens | changes.uses)
            if (token := state.tokens.get(name)) is not None
        ],
        gone_tokens=[name for name in changes.gone_tokens if name not in state.tokens],
    )


def _token_row(token: Token) -> TokenRow:
    return TokenRow(
        name=token.name,
        digest=token.digest,
        role=token.role.value,
        models="\n".join(token.models),
        created=token.created,
        expires=token.expires,
        used=token.used,
        rate=token.rate,
        waiting=token.waiting,
    )


def token_of(row: TokenRow) -> Token:
    return Token(
        name=row.name,
        role=Role(row.role),
        models=tuple(row.models.split("\n")) if row.models else (),
        created=row.created,
        expires=row.expires,
        digest=row.digest,
        used=row.used,
        rate=row.rate,
        waiting=row.waiting,
    )


def _model_row(model: Model) -> ModelRow:
    return ModelRow(
        name=model.name,
        api_version=model.api_version,
        generation=model.generation,
        content_generation=model.content_generation,
        metadata=model.metadata,
        spec=model.spec,
        pin=None if model.pin is None else int(model.pin),
        created=model.created,
        deleting=int(model.deleting),
        fingerprint=model.fingerprint,
        artifact_bytes=model.artifact_bytes,
        learned_bytes=model.learned_bytes,
        made_for=model.made_for,
        called="\n".join(model.called),
    )


def restore(
    snapshot: Snapshot,
    defaults: Defaults,
    now: float,
    live: State | None = None,
    providers: Sequence[Provider] = (),
) -> State:
    """The seats as they were written. ``live``: a state whose agents' connections and reports still hold."""
    state = State(providers)
    for row in snapshot.servers:
        _restore_server(state, row, defaults)
    if live is not None:
        for replica in live.seats.replicas.values():
            if replica.hello is not None:
                replica.registered, replica.models = 0, set()
                replica.beyond, replica.pinned = {}, {}
                replica.asked_again, replica.grown = set(), set()
                replica.draining = True
                state.seats.replicas[replica.id] = replica
    for row_ in snapshot.models:
        model = _restore_model(row_)
        state.seats.models[model.name] = model
        state.seats.link(model)
        state.seats.touched.add(model.name)
    for server in state.seats.servers.values():
        state.fit_replicas(server, now)
    _restore_seats(state, snapshot)
    for model in state.seats.models.values():
        wanted = model.needs.replicas
        # One that is wanted nowhere has to say so.
        if not model.deleting and (not wanted or len(model.assigned) < wanted):
            state.later([model.name])
    # Who asks before anything else happens sees each model with a condition.
    state.refresh(now)
    return state


def _restore_server(state: State, row: ServerRow, defaults: Defaults) -> None:
    manifest = ServerManifest.model_validate(
        {
            "apiVersion": row.api_version,
            "kind": "Server",
            "metadata": {"name": row.name, **(json.loads(row.metadata) if row.metadata else {})},
            "spec": ServerSpec.model_validate_json(row.spec),
        }
    )
    memory = row.memory if defaults.memory is None else defaults.memory
    defaults = Defaults(memory, defaults.overcommit, defaults.machine)
    state.seats.servers[row.name] = build_server(
        manifest, defaults, generation=row.generation, created=row.created
    )


def _restore_model(row: ModelRow) -> Model:
    spec = ModelSpec.model_validate_json(row.spec)
    return Model(
        name=row.name,
        api_version=row.api_version,
        generation=row.generation,
        content_generation=row.content_generation,
        metadata=row.metadata,
        spec=row.spec,
        pin=None if row.pin is None else bool(row.pin),
        created=row.created,
        deleting=bool(row.deleting),
        fingerprint=row.fingerprint,
        artifact_bytes=row.artifact_bytes,
        learned_bytes=row.learned_bytes,
        made_for=row.made_for,
        called=tuple(row.called.split("\n")) if row.called else (),
        needs=Needs.from_spec(spec),
        unseen=None if row.fingerprint else NOT_LOOKED,
    )


def _restore_seats(state: State, snapshot: Snapshot) -> None:
    """Seats of replicas that are gone are dropped: their models find another place."""
    seats = state.seats
    lost: set[str] = set()
    for seat in snapshot.seats:
        model = seats.models.get(seat.model)
        replica_id = ReplicaId(seat.server, seat.replica)
        if model is not None and replica_id in seats.replicas:
            seats.seat(model, replica_id, SeatRole(seat.role))
        else:
            lost.add(seat.model)
    # What was just read need not be written again, but for what is no longer so.
    seats.changes.models = lost & seats.models.keys()
    for model in list(seats.models.values()):
        if model.deleting:
            state.end_if_gone(model)
