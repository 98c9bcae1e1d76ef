"""Apply: documents in, one answer each. Checks, and looks at files, come before the actor's turn."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from overbook.artifacts.address import is_remote, local_path, scheme_of
from overbook.artifacts.errors import ArtifactError
from overbook.artifacts.survey import NotNow, Survey
from overbook.manifests.kinds import ONLY, of_others
from overbook.manifests.located import MAX_VALUES, more_than
from overbook.manifests.names import MAX_NAME
from overbook.manifests.problems import Json, ManifestError
from overbook.manifests.specs import Manifest, ModelManifest, ServerManifest
from overbook.manifests.validate import validate_object
from overbook.placement import Unseen
from overbook.scheduler.actor import Actor
from overbook.scheduler.displaced import Seats, displaced, losses, seats
from overbook.scheduler.errors import Conflict, Invalid
from overbook.scheduler.manifests_in import (
    NOT_LOOKED,
    Action,
    apply_model,
    apply_server,
    checked_server,
    is_known,
)
from overbook.scheduler.records import Needs
from overbook.scheduler.state import State
from overbook.scheduler.surveyor import Found, Surveyor

# Documents between two looks at the event loop: some milliseconds.
BITE: Final = 100
# Seconds of checks between two looks: what is wrong in very many ways takes longer than what is right.
_BITE_SECONDS: Final = 0.005
# Characters of what is said of one document, and of a name in it that can be no name.
_MOST_TOLD: Final = 500
_LONGEST: Final = 100

FAILED: Final = "failed"
SKIPPED: Final = "skipped"
Told: TypeAlias = Action | Literal["failed", "skipped", "valid", "unseen"]


@dataclass(frozen=True, slots=True)
class Result:
    """One document's answer. ``error`` without ``failed``: it is registered, but it is not placed. ``before``: its
    generation until now, None for none.
    """

    kind: str
    name: str
    generation: int
    action: Told
    error: str | None
    warnings: tuple[str, ...] = ()
    before: int | None = None


@dataclass(frozen=True, slots=True)
class _Checked:
    """A document that may be applied. ``artifact`` is a Model's; None when nobody could look at it, for the reason
    ``unseen``. ``gone``: why there can be no model at its address, as its source says, "" where there may.
    """

    manifest: Manifest
    warnings: tuple[str, ...] = ()
    artifact: Survey | None = None
    unseen: Unseen = NOT_LOOKED
    gone: str = ""


async def apply(
    actor: Actor, surveyor: Surveyor, documents: Sequence[Json], *, dry_run: bool = False
) -> list[Result]:
    """Applies each document for itself, all in one transaction. ``dry_run`` checks and stores nothing.

    Raises StoreError when nothing could be written; what is wrong with a document is in its result.
    """
    checked = await _look_at_all(surveyor, await _check(documents))
    if dry_run:
        return [_dry(actor, each) for each in checked]
    results = await actor.submit(lambda state, now: _apply_all(actor, state, checked))
    if any(isinstance(each, _Checked) and _unlooked(each) for each in checked):
        surveyor.wake()  # an agent may have come meanwhile
    return results


async def _check(documents: Sequence[Json]) -> list[_Checked | Result]:
    checked: list[_Checked | Result] = []
    seen: set[tuple[str, str]] = set()
    now = asyncio.get_running_loop().time
    until = now() + _BITE_SECONDS
    for document in documents:
        if now() > until:
            await asyncio.sleep(0)
            until = now() + _BITE_SECONDS
        if (what := of_others(document)) is not None:
            checked.append(
                replace(_named(document, SKIPPED), warnings=(f"{what} is skipped; {ONLY}",))
            )
            continue
        if more_than(MAX_VALUES, document):
            checked.append(_failed(document, f"has more than {MAX_VALUES} values; expected fewer"))
            continue
        try:
            valid = validate_object(document)
        except ManifestError as error:
            checked.append(_failed(document, "; ".join(str(each) for each in error.problems)))
            continue
        manifest = valid.manifest
        key = (manifest.kind, manifest.name)
        if key in seen:
            text = f"metadata.name: {manifest.name!r} appears twice; expected each name once"
            checked.append(_failed(document, text))
            continue
        seen.add(key)
        checked.append(_Checked(manifest, tuple(str(each) for each in valid.warnings)))
    return checked


async def _look_at_all(
    surveyor: Surveyor, checked: Sequence[_Checked | Result]
) -> list[_Checked | Result]:
    """Looks at the files of every Model, where they are."""
    found = [_addressed(each) for each in checked]
    wanted = [
        Needs.from_spec(each.manifest.spec).artifact
        for each in found
        if isinstance(each, _Checked)
        and isinstance(each.manifest, ModelManifest)
        and each.artifact is None
    ]
    seen = iter(await surveyor.look(wanted))
    return [
        _with_files(each, next(seen)) if isinstance(each, _Checked) and _unlooked(each) else each
        for each in found
    ]


def _unlooked(each: _Checked) -> bool:
    return isinstance(each.manifest, ModelManifest) and each.artifact is None


def _uri(each: _Checked) -> str:
    return each.manifest.spec.storage_uri if isinstance(each.manifest, ModelManifest) else ""


def _addressed(each: _Checked | Result) -> _Checked | Result:
    """What can be said of an address without looking."""
    if isinstance(each, Result) or not _unlooked(each):
        return each
    try:
        if is_remote(_uri(each)):
            scheme_of(_uri(each))
        else:
            local_path(_uri(each))
    except ArtifactError as error:
        return _refused(each, f"spec.storageUri: {error}")
    return each


def _with_files(each: _Checked, seen: Found) -> _Checked | Result:
    match seen:
        case Survey():
            return replace(each, artifact=seen)
        case str() if is_remote(_uri(each)):
            return replace(each, gone=f"spec.storageUri: {seen}")
        case str():
            return _refused(each, f"spec.storageUri: {seen}")
        case NotNow(reason):
            unseen = Unseen(f"{reason}; it is asked again", asked=True)
        case None:
            unseen = NOT_LOOKED
    warning = f"{each.manifest.name}: {unseen.reason}"
    return replace(each, unseen=unseen, warnings=(*each.warnings, warning))


def _refused(each: _Checked, error: str) -> Result:
    return Result(each.manifest.kind, each.manifest.name, 0, FAILED, error)


async def _apply_all(
    actor: Actor, state: State, checked: Sequence[_Checked | Result]
) -> list[Result]:
    results: list[Result] = []
    before: dict[str, Seats] = {}
    for index, each in enumerate(checked):
        if isinstance(each, _Checked) and isinstance(each.manifest, ServerManifest):
            before[each.manifest.name] = seats(state, each.manifest.name)
        if index % BITE == BITE - 1:
            await asyncio.sleep(0)
        results.append(each if isinstance(each, Result) else _apply_one(actor, state, each))
    # A Server later in the same request may have made room: answer with what is so at its end.
    for _ in state.bites(BITE):
        await asyncio.sleep(0)
    return [_with_losses(state, _with_placement(state, each), before) for each in results]


def _apply_one(actor: Actor, state: State, each: _Checked) -> Result:
    manifest, warnings = each.manifest, each.warnings
    before = _generation(state, manifest)
    try:
        if isinstance(manifest, ModelManifest):
            if each.gone:
                warnings = (*warnings, _served_on(state, manifest, each.gone))
            applied = apply_model(state, manifest, each.artifact or each.unseen, actor.now())
        else:
            applied = apply_server(state, manifest, actor.defaults, actor.now())
    except (Invalid, Conflict) as error:
        return Result(manifest.kind, manifest.name, 0, FAILED, str(error), each.warnings, before)
    told = (*warnings, *applied.warnings)
    return Result(
        manifest.kind, manifest.name, applied.generation, applied.action, None, told, before
    )


def _generation(state: State, manifest: Manifest) -> int | None:
    kept = state.seats.models if isinstance(manifest, ModelManifest) else state.seats.servers
    found = kept.get(manifest.name)
    return None if found is None else found.generation


def _served_on(state: State, manifest: ModelManifest, gone: str) -> str:
    """What is told of a model that goes on being served from what was fetched of it. Raises Invalid where none does."""
    if not is_known(state, manifest):
        raise Invalid(gone)
    return f"{manifest.name}: {gone}; what was fetched of it is served as before"


def _with_placement(state: State, result: Result) -> Result:
    """Adds why a registered model has no place, unless it only waits for agents to connect."""
    model = state.seats.models.get(result.name) if result.kind == "Model" else None
    if model is None or result.error is not None or model.waiting:
        return result
    if len(model.assigned) < model.needed:
        return replace(result, error=model.reason)
    return result


def _with_losses(state: State, result: Result, before: Mapping[str, Seats]) -> Result:
    """Adds which models lost their place on a Server that was made smaller."""
    if result.kind != "Server" or result.name not in before:
        return result
    lost = losses(state, result.name, displaced(state, before[result.name]))
    return replace(result, warnings=(*result.warnings, *lost))


def _dry(actor: Actor, each: _Checked | Result) -> Result:
    if isinstance(each, Result):
        return each
    manifest = each.manifest
    if each.gone and isinstance(manifest, ModelManifest):
        try:
            told = _served_on(actor.state, manifest, each.gone)
        except Invalid as error:
            return Result(manifest.kind, manifest.name, 0, FAILED, str(error), each.warnings)
        return Result(manifest.kind, manifest.name, 0, "valid", None, (*each.warnings, told))
    if not isinstance(manifest, ModelManifest):
        try:
            checked_server(manifest, actor.defaults, generation=0, created=0.0)
        except Invalid as error:
            return Result(manifest.kind, manifest.name, 0, FAILED, str(error), each.warnings)
    found: Told = "unseen" if _unlooked(each) else "valid"
    return Result(manifest.kind, manifest.name, 0, found, None, each.warnings)


def _failed(document: Json, error: str) -> Result:
    told = error if len(error) <= _MOST_TOLD else f"{error[: _MOST_TOLD - 1]}…"
    return replace(_named(document, FAILED), error=told)


def _named(document: Json, action: Told) -> Result:
    """A result for what may not even have a name."""
    kind, name = "", ""
    if isinstance(document, dict):
        given = document.get("kind")
        kind = _short(given)
        metadata = document.get("metadata")
        if isinstance(metadata, dict):
            name = _short(metadata.get("name"))
    return Result(kind, name, 0, action, None)


def _short(word: Json) -> str:
    """As it was given, but for what is longer than any name."""
    if not isinstance(word, str):
        return ""
    return word if len(word) <= MAX_NAME else f"{word[:_LONGEST]}…"
