"""Manifests into the state: what is new, what changed, what stays, and what of it is a new generation.

Takes checked manifests, and what agents saw of their files. No I/O; the actor writes what changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from overbook.artifacts.address import is_remote
from overbook.artifacts.survey import NotNow, Survey
from overbook.manifests.problems import Json
from overbook.manifests.quantities import amount
from overbook.manifests.specs import Manifest, ModelManifest, ServerManifest, ServerSpec
from overbook.placement import ModelDemand, Unseen, place
from overbook.scheduler.changes import Note
from overbook.scheduler.errors import Conflict, Invalid
from overbook.scheduler.records import ArtifactAddress, Model, Needs, Server, weigh
from overbook.scheduler.seats import demand_of
from overbook.scheduler.state import State

# One machine or one set of pods; more is a typing error, and each costs a record.
MAX_REPLICAS = 1000

# Whoever applies need not wait for an agent; whoever waits for the model does.
NOT_LOOKED = Unseen("no agent is connected to look at its files; the first one to connect will")
_NO_FILES = Survey(0, "")

Action: TypeAlias = Literal["created", "configured", "unchanged"]
CREATED: Final = "created"
CONFIGURED: Final = "configured"
UNCHANGED: Final = "unchanged"


@dataclass(frozen=True, slots=True)
class Defaults:
    """For Servers that do not say: budget in bytes (None: they must) and overcommit in percent.

    ``machine``: bytes of the one machine that all Servers run on; None where they may run anywhere.
    """

    memory: int | None = None
    overcommit: int = 10
    machine: int | None = None


@dataclass(frozen=True, slots=True)
class Applied:
    """``warnings``: what does not hurt now, but will."""

    generation: int
    action: Action
    warnings: tuple[str, ...] = ()


def canonical(value: Json) -> str:
    """One text for equal JSON values; ASCII, because not every JSON string is valid UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def parts(manifest: Manifest) -> tuple[str, dict[str, Json]]:
    """Metadata beyond the name as canonical JSON ("" for none), and the spec as it was written."""
    whole = manifest.to_json()
    metadata, spec = whole["metadata"], whole["spec"]
    if not isinstance(metadata, dict) or not isinstance(spec, dict):
        raise TypeError(f"{manifest.kind} {manifest.name}: metadata and spec are mappings")
    metadata.pop("name")
    return canonical(metadata) if metadata else "", spec


def apply_server(state: State, manifest: ServerManifest, defaults: Defaults, now: float) -> Applied:
    """Raises Invalid when the Server has no budget, too large a one or too many replicas."""
    metadata, spec = parts(manifest)
    text = canonical(spec)
    old = state.seats.servers.get(manifest.name)
    if old is not None and (old.spec, old.metadata, old.api_version) == (
        text,
        metadata,
        manifest.api_version,
    ):
        return Applied(old.generation, UNCHANGED)
    generation = 1 if old is None else old.generation + 1
    created = now if old is None else old.created
    server = checked_server(manifest, defaults, generation=generation, created=created)
    if old is not None:
        server.condition = old.condition
    state.seats.servers[server.name] = server
    state.seats.changes.servers.add(server.name)
    state.fit_replicas(server, now)
    action: Action = CREATED if old is None else CONFIGURED
    reason = "ServerRegistered" if old is None else "ServerUpdated"
    state.seats.changes.notes.append(
        Note(reason, "Server", server.name, f"generation {generation}")
    )
    return Applied(generation, action)


def checked_server(
    manifest: ServerManifest, defaults: Defaults, *, generation: int, created: float
) -> Server:
    """A Server's record, where it may be applied. Raises Invalid."""
    server = build_server(manifest, defaults, generation=generation, created=created)
    _refuse_oversized(manifest.spec, server, defaults)
    return server


def _refuse_oversized(spec: ServerSpec, server: Server, defaults: Defaults) -> None:
    """A budget that the machine cannot hold ends with the kernel killing something. Raises Invalid."""
    wanted = server.memory * server.replicas
    if defaults.machine is None or wanted <= defaults.machine or spec.attachment is not None:
        return
    if spec.allow_oversized_memory:
        return
    each = f"{server.replicas} replicas of {amount(server.memory)}"
    raise Invalid(
        f"spec.memory: {amount(wanted) if server.replicas == 1 else each} is more than this machine's "
        f"{amount(defaults.machine)}; expected less, or spec.allowOversizedMemory: true"
    )


def build_server(
    manifest: ServerManifest, defaults: Defaults, *, generation: int, created: float
) -> Server:
    """A Server's record, defaults applied. Raises Invalid."""
    spec = manifest.spec
    memory = spec.memory_bytes if spec.memory_bytes is not None else defaults.memory
    if memory is None:
        raise Invalid(
            "spec.memory: is required; expected the budget of each replica in bytes, such as 2Gi"
        )
    if spec.replicas > MAX_REPLICAS:
        raise Invalid(
            f"spec.replicas: {spec.replicas} is out of range; expected at most {MAX_REPLICAS}"
        )
    metadata, plain = parts(manifest)
    return Server(
        name=manifest.name,
        api_version=manifest.api_version,
        generation=generation,
        metadata=metadata,
        spec=canonical(plain),
        created=created,
        runtime=spec.server_config,
        replicas=spec.replicas,
        memory=memory,
        overcommit=defaults.overcommit if spec.overcommit is None else spec.overcommit,
        capabilities=None if spec.capabilities is None else frozenset(spec.capabilities),
        extra_capabilities=spec.extra_capabilities,
        attachment=spec.attachment,
        eviction_policy=spec.eviction_policy,
        environment=spec.environment,
        allow=spec.allow,
        deny_pickle=spec.deny_pickle,
    )


def apply_model(
    state: State, manifest: ModelManifest, seen: Survey | Unseen, now: float
) -> Applied:
    """Registers or updates. Raises Conflict when an update fits nowhere while the old one serves."""
    metadata, spec = parts(manifest)
    old = state.seats.models.get(manifest.name)
    needs = Needs.from_spec(manifest.spec)
    artifact = _artifact(old, needs, seen)
    unseen = seen if isinstance(seen, Unseen) else None
    if unseen is not None and is_known(state, manifest) and is_remote(needs.storage_uri):
        # What was fetched of it is served as before; only whether there are changes could not be asked.
        unseen = None
    _refuse_circle(state, manifest.name, (*needs.callees, *artifact.callees))
    if old is None:
        new = _new(manifest, needs, artifact, now)
        new.unseen = unseen
        return _create(state, manifest, new)
    pin = None if "pinned" in spec else old.pin
    if pin is not None:
        spec["pinned"] = pin
        manifest = manifest.model_copy(
            update={"spec": manifest.spec.model_copy(update={"pinned": pin})}
        )
        needs = replace(needs, pinned=pin)
    text = canonical(spec)
    unchanged = (old.spec, old.api_version, old.fingerprint) == (
        text,
        manifest.api_version,
        artifact.fingerprint,
    )
    if unchanged and not old.deleting:
        old.pin = pin
        _unseen(state, old, unseen)
        if old.metadata == metadata:
            return Applied(old.generation, UNCHANGED)
        old.metadata = metadata
        state.seats.changes.models.add(old.name)
        return Applied(old.generation, CONFIGURED)
    revived, before = old.deleting, old.size
    _update(state, old, needs, artifact, unseen)
    old.metadata, old.spec, old.pin = metadata, text, pin
    old.api_version = manifest.api_version
    action: Action = CREATED if revived else CONFIGURED
    return Applied(old.generation, action, _over_the_limit(state, old, before))


def _refuse_circle(state: State, name: str, callees: Iterable[str]) -> None:
    """Of models that call each other in a circle none could ever be loaded first. Raises Conflict."""
    trails: list[tuple[str, ...]] = [(name, each) for each in callees]
    seen: set[str] = set()
    while trails:
        trail = trails.pop()
        if trail[-1] == name:
            raise Conflict(f"spec.needs: {' calls '.join(trail)}; expected no cycle")
        model = state.seats.models.get(trail[-1])
        if model is not None and trail[-1] not in seen:
            seen.add(trail[-1])
            trails += [(*trail, each) for each in model.callees]


def _new(manifest: ModelManifest, needs: Needs, artifact: Survey, now: float) -> Model:
    metadata, spec = parts(manifest)
    return Model(
        name=manifest.name,
        api_version=manifest.api_version,
        generation=1,
        content_generation=1,
        metadata=metadata,
        spec=canonical(spec),
        pin=None,
        created=now,
        deleting=False,
        fingerprint=artifact.fingerprint,
        artifact_bytes=artifact.bytes,
        learned_bytes=0,
        made_for=artifact.made_for,
        called=artifact.callees,
        needs=needs,
    )


def _artifact(model: Model | None, needs: Needs, seen: Survey | Unseen) -> Survey:
    """What is known of the files that are asked for. A listing tells less of the same files than they did themselves
    when they arrived.
    """
    if not isinstance(seen, Survey):
        return _known(model, needs)
    known = _known(model, needs)
    same = is_remote(needs.storage_uri) and known.fingerprint == seen.fingerprint
    return known if same else seen


def _known(model: Model | None, needs: Needs) -> Survey:
    """What there is to know of files at which nobody can look now."""
    if model is None or not _same_place(model.needs, needs):
        return _NO_FILES
    return _survey_of(model)


def is_known(state: State, manifest: ModelManifest) -> bool:
    """Whether somebody has looked, at some time, at the files that this asks for."""
    old = state.seats.models.get(manifest.name)
    if old is None or not old.fingerprint:
        return False
    return _same_place(old.needs, Needs.from_spec(manifest.spec))


def _same_place(one: Needs, other: Needs) -> bool:
    return (one.storage_uri, one.artifact_version) == (other.storage_uri, other.artifact_version)


def _survey_of(model: Model) -> Survey:
    return Survey(model.artifact_bytes, model.fingerprint, model.made_for, model.called)


def _unseen(state: State, model: Model, unseen: Unseen | None) -> None:
    if model.unseen != unseen:
        model.unseen = unseen
        state.place(model)


def looked(state: State, name: str, address: ArtifactAddress, found: Survey | NotNow | str) -> None:
    """An agent looked at the files of a model that was applied when none could. ``found``: see `survey`."""
    model = state.seats.models.get(name)
    if model is None or model.deleting or model.unseen is None:
        return
    if model.needs.artifact != address:
        return  # it was applied anew since, with another address or secret
    remote = is_remote(address.storage_uri)
    if not isinstance(found, Survey) and model.fingerprint and remote:
        # What was fetched of it is served as before.
        _note_not_asked(state, model, found)
        _unseen(state, model, None)
    elif isinstance(found, NotNow):
        _unseen(state, model, Unseen(f"{found.reason}; it is asked again", asked=True))
    elif isinstance(found, str):
        _unseen(state, model, Unseen(f"spec.storageUri: {found}", waiting=False))
    elif (told := _circle(state, model, found)) != "":
        _unseen(state, model, Unseen(told, waiting=False))
    elif model.fingerprint and found.fingerprint != model.fingerprint:
        _changed_since(state, model, found)
    elif model.fingerprint and remote:
        # A listing tells less of the files than they did themselves when they arrived.
        _unseen(state, model, None)
    else:
        before = model.weight
        _take(model, found)
        state.seats.resized(model, before)
        state.seats.mark(model)
        state.seats.tell(model)
        _unseen(state, model, None)


def refreshed(
    state: State, name: str, address: ArtifactAddress, found: Survey | NotNow | str
) -> None:
    """The source of a model that is to follow it was asked whether there are other files by now."""
    model = state.seats.models.get(name)
    if model is None or model.deleting or model.needs.artifact != address:
        return
    if not isinstance(found, Survey):
        _note_not_asked(state, model, found)
    elif (told := _circle(state, model, found)) != "":
        state.note("SourceNotFollowed", model.name, told, warning=True)
    elif found.fingerprint != model.fingerprint:
        _changed_since(state, model, found)


def arrived(state: State, model: Model, found: Survey) -> None:
    """The files of a model came from elsewhere, and tell more than their listing did: bytes unpacked, whom it calls."""
    new = Survey(found.bytes, model.fingerprint, found.made_for, found.callees)
    if new == _survey_of(model) or _circle(state, model, new):
        return
    before, moves = model.weight, (new.made_for, new.callees) != (model.made_for, model.called)
    _take(model, new)
    state.seats.resized(model, before)
    state.seats.mark(model)
    state.seats.tell(model)
    if moves:
        state.place(model)


def _note_not_asked(state: State, model: Model, found: NotNow | str) -> None:
    told = found.reason if isinstance(found, NotNow) else found
    text = f"its source cannot be asked for changes ({told}); what was fetched of it is served as before"
    state.note("SourceNotAsked", model.name, text, warning=True)


def _circle(state: State, model: Model, found: Survey) -> str:
    try:
        _refuse_circle(state, model.name, (*model.needs.callees, *found.callees))
    except Conflict as error:
        return str(error)
    return ""


def _changed_since(state: State, model: Model, found: Survey) -> None:
    try:
        _update(state, model, model.needs, found, None)
    except Conflict as error:
        model.unseen = None
        state.note("ScheduleFailed", model.name, str(error), warning=True)


def _take(model: Model, artifact: Survey) -> None:
    model.fingerprint, model.artifact_bytes = artifact.fingerprint, artifact.bytes
    model.made_for, model.called = artifact.made_for, artifact.callees


def _over_the_limit(state: State, model: Model, before: int) -> tuple[str, ...]:
    """That a larger model was admitted where there is no room for it, since it has its place there."""
    if model.size <= before:
        return ()
    replicas = (state.seats.replicas[each] for each in model.assigned)
    return tuple(
        f"{each.id}: {amount(each.registered)} are registered now, {amount(each.registered - each.limit)} "
        f"more than its limit of {amount(each.limit)}: a registered model keeps its place, also with "
        f"{amount(model.size - before)} more than before; raise the Server's memory or overcommitPercentage, "
        "or delete models"
        for each in replicas
        if each.registered > each.limit
    )


def _create(state: State, manifest: ModelManifest, model: Model) -> Applied:
    state.seats.models[model.name] = model
    state.seats.mark(model)
    state.seats.registered(model)
    state.note("ModelRegistered", model.name, f"storageUri {manifest.spec.storage_uri}")
    state.place(model)
    return Applied(model.generation, CREATED)


def _update(
    state: State, model: Model, needs: Needs, artifact: Survey, unseen: Unseen | None
) -> None:
    """A new generation of a model that is here (perhaps on its way out: then it stays)."""
    seats = state.seats
    fresh = not needs.same_content(model.needs) or artifact.fingerprint != model.fingerprint
    # With another declaration agents say anew what they make of it.
    known = not fresh and needs.memory == model.needs.memory
    learned = model.learned_bytes if known else 0
    if model.assigned and (needs.memory or artifact != _NO_FILES):
        weight = weigh(needs.memory, artifact.bytes, learned)
        _refuse_if_homeless(state, model, demand_of(model.name, needs, weight, artifact.made_for))
    before = model.weight
    model.needs, model.learned_bytes, model.unseen = needs, learned, unseen
    _take(model, artifact)
    seats.pin(model)
    model.generation += 1
    if fresh or model.deleting:
        model.content_generation = model.generation
    model.deleting = False
    seats.resized(model, before)
    if model.size > before.size:
        for replica_id in model.seats:
            seats.replicas[replica_id].grown.add(model.name)
    seats.mark(model)
    state.note("ModelUpdated", model.name, f"generation {model.generation}")
    state.place(model)
    seats.tell(model)


def _refuse_if_homeless(state: State, model: Model, demand: ModelDemand) -> None:
    """Where it stays on one replica at least, it is registered, and the wish for more is kept. Raises Conflict."""
    verdict = place(demand, state.seats.views(model), state.providers)
    if verdict.wanted and not verdict.chosen and not verdict.waiting:
        raise Conflict(
            f"generation {model.generation} keeps serving; the new generation does not fit: "
            f"{verdict.reason}"
        )


def set_pin(state: State, name: str, pinned: bool) -> None:
    """What `pin` and `unpin` do: a new generation of the spec, not of the content. Raises NotFound, Conflict."""
    model = state.model(name)
    if model.deleting:
        raise Conflict(f"model {name!r} is being removed; apply it again to keep it")
    if model.needs.pinned == pinned and model.pin is pinned:
        return
    spec = json.loads(model.spec)
    spec["pinned"] = pinned
    model.spec = canonical(spec)
    model.pin = pinned
    model.needs = replace(model.needs, pinned=pinned)
    model.generation += 1
    state.seats.pin(model)
    state.seats.mark(model)
    state.seats.tell(model)
    state.note("ModelPinned" if pinned else "ModelUnpinned", name, "by request")
