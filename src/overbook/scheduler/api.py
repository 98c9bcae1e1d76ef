"""The control API (docs/api.md): HTTP in, the actor asked, JSON out. Decides nothing.

What is asked and answered is described in `bodies`, and written by `answers`. What concerns secrets is in
`secrets_api`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Annotated, Any, Final, TypeAlias, cast

from fastapi import APIRouter, FastAPI, Query, Response
from fastapi.responses import HTMLResponse, PlainTextResponse

from overbook import __version__
from overbook.access.roles import needed
from overbook.manifests.problems import Json
from overbook.metrics.page import CONTENT_TYPE, PAGE
from overbook.placement import ReplicaId
from overbook.scheduler import bodies, pins, status
from overbook.scheduler.actor import Actor
from overbook.scheduler.answers import (
    OF_ALL,
    OF_BODIES,
    OF_STRANGERS,
    answered,
    described_with,
    encoded,
    errors,
    json_response,
)
from overbook.scheduler.apply import FAILED, SKIPPED, Result, apply
from overbook.scheduler.audit.calls import Call, Change, Noted
from overbook.scheduler.audit.log import AuditLog
from overbook.scheduler.audit_api import audit_log
from overbook.scheduler.displaced import losses
from overbook.scheduler.errors import (
    Conflict,
    NotFound,
    Unavailable,
)
from overbook.scheduler.events import Event
from overbook.scheduler.manifests_in import UNCHANGED, set_pin
from overbook.scheduler.refusals import answer_errors
from overbook.scheduler.request_bodies import ApplyBody, TimeoutBody
from overbook.scheduler.secrets_api import secrets, with_body
from overbook.scheduler.service import command
from overbook.scheduler.state import State
from overbook.scheduler.surveyor import Surveyor
from overbook.scheduler.tokens_api import tokens
from overbook.scheduler.web import description
from overbook.wire import scheduler_pb2 as pb

# None when everything that was to be served is, else one line that names what is not.
ReadyCheck: TypeAlias = Callable[[], str | None]

# Models written between two looks at the event loop: some milliseconds.
_BITE: Final = 500
_EVENTS_SHOWN: Final = 50
# What FastAPI describes of its own accord: a refusal of a form that is not ours, see `_invalid_request`.
_NOT_OURS: Final = ("HTTPValidationError", "ValidationError")
_NOT_READY: Final[dict[int | str, dict[str, Any]]] = {
    503: {
        "description": "Not everything is served yet.",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    }
}


class _Api(FastAPI):
    """FastAPI, but for the description of what is answered to a request that is wrong."""

    def openapi(self) -> dict[str, Any]:
        described = super().openapi()
        for path, operations in described["paths"].items():
            for method, operation in operations.items():
                operation["responses"].pop("422", None)
                codes = OF_ALL if method == "get" else (*OF_ALL, *OF_BODIES)
                if needed(method.upper(), path) is not None:
                    codes = (*codes, OF_STRANGERS)
                operation["responses"] = described_with(operation["responses"], codes)
        for name in _NOT_OURS:
            described["components"]["schemas"].pop(name, None)
        described["components"]["schemas"] = with_body(described["components"]["schemas"])
        return described


def create_app(actor: Actor, surveyor: Surveyor, ready: ReadyCheck, audit: AuditLog) -> FastAPI:
    """The application; ``ready`` is asked on every `/readyz`."""
    app = _Api(
        title="Overbook control API",
        version=__version__,
        description="Register models and servers, and see what became of them.",
        docs_url=None,
        redoc_url=None,
    )
    app.include_router(_documents(actor, surveyor))
    app.include_router(_models(actor, surveyor))
    app.include_router(_servers(actor))
    app.include_router(_logs(actor))
    app.include_router(secrets(actor, surveyor))
    app.include_router(tokens(actor))
    app.include_router(_events(actor))
    app.include_router(audit_log(audit))
    app.include_router(_health(ready))

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return HTMLResponse(
            description.page(app.openapi()),
            headers={"content-security-policy": description.POLICY},
        )

    answer_errors(app)
    return app


def _documents(actor: Actor, surveyor: Surveyor) -> APIRouter:
    router = APIRouter(prefix="/api/v1", tags=["manifests"])

    @router.post("/apply", response_model=bodies.ApplyAnswer, responses=errors(503))
    async def apply_documents(body: ApplyBody, call: Noted) -> Response:
        """Each document is registered, or changes what was. All that succeed are durable when this answers.

        Requests that come after the answer find it so; `warnings` name gateways and agents that do not act on it yet.
        """
        results = await apply(actor, surveyor, cast("list[Json]", body.documents))
        _note(call, results)
        names = [
            each.name
            for each in results
            if each.kind == "Model" and each.action not in (FAILED, SKIPPED)
        ]
        seats = actor.state.seats
        models = (seats.models[name] for name in names if name in seats.models)
        replicas = {replica for model in models for replica in model.assigned}
        warnings = pins.warnings(seats.replicas, seats.models, names)
        return _results(results, [*warnings, *await actor.unheard(replicas)])

    @router.post("/validate", response_model=bodies.ApplyAnswer)
    async def validate_documents(body: ApplyBody) -> Response:
        """Each document is checked as by `apply`, and nothing is stored."""
        documents = cast("list[Json]", body.documents)
        return _results(await apply(actor, surveyor, documents, dry_run=True), [])

    return router


def _note(call: Call, results: Sequence[Result]) -> None:
    for each in results:
        if each.action == UNCHANGED:
            call.unchanged += 1
        else:
            after = each.before if each.action == FAILED else each.generation or None
            call.changes.append(Change(each.kind, each.name, each.before, after, each.action))


def _results(results: Sequence[Result], warnings: list[str]) -> Response:
    answer: bodies.ApplyAnswer = {
        "results": [
            {
                "kind": each.kind,
                "name": each.name,
                "generation": each.generation,
                "action": each.action,
                "error": each.error,
                "warnings": list(each.warnings),
            }
            for each in results
        ],
        "warnings": warnings,
    }
    return answered(answer)


def _models(actor: Actor, surveyor: Surveyor) -> APIRouter:
    router = APIRouter(prefix="/api/v1/models", tags=["models"])

    @router.get("", response_model=list[bodies.ModelObject])
    async def list_models() -> Response:
        """All Models are listed by name."""
        seats = actor.state.seats
        texts: list[bytes] = []
        for index, name in enumerate(sorted(seats.models)):
            if index % _BITE == _BITE - 1:
                await asyncio.sleep(0)
            model = seats.models.get(name)
            if model is not None:
                texts.append(encoded(status.model_object(model, seats.replicas)))
        return json_response(b"[" + b",".join(texts) + b"]")

    @router.get("/{name}", response_model=bodies.ModelObject, responses=errors(404))
    async def get_model(name: str) -> Response:
        """One Model is shown."""
        return answered(status.model_object(actor.state.model(name), actor.state.seats.replicas))

    @router.get("/{name}/describe", response_model=bodies.ModelDescription, responses=errors(404))
    async def describe_model(name: str) -> Response:
        """The Model is shown, with why each server replica holds it or does not, and what happened lately."""
        state = actor.state
        model, verdict = state.model(name), state.verdict(name)
        events = _recent(actor, "Model", name)
        return answered(status.model_description(model, state.seats.replicas, verdict, events))

    @router.delete("/{name}", responses=errors(404, 503))
    async def delete_model(name: str, call: Noted) -> bodies.DoneAnswer:
        """The Model drains and goes; its name is free when it is not listed any more.

        Requests that come after the answer are not served by it; `warnings` name gateways that may not know yet.
        """

        async def remove(state: State, now: float) -> int:
            before = state.model(name).generation
            state.remove_model(name)
            return before

        call.changes.append(Change("Model", name, await actor.submit(remove)))
        return {"warnings": await actor.unheard()}

    _model_commands(actor, surveyor, router)
    return router


def _model_commands(actor: Actor, surveyor: Surveyor, router: APIRouter) -> None:
    @router.post("/{name}/activate", responses=errors(404, 409, 503))
    async def activate(name: str, body: TimeoutBody | None = None) -> bodies.DoneAnswer:
        """The Model becomes resident wherever it is assigned. What could not be fetched or looked at is tried again."""
        timeout = (body or TimeoutBody()).timeout
        if actor.state.model(name).unseen is not None:
            timeout = await _looked_again(actor, surveyor, name, timeout)
        for outcome in await command(actor, name, pb.Command.ACTIVATE, timeout):
            if not outcome.ok:
                raise Unavailable(outcome.reason)
        return {"warnings": []}

    @router.post("/{name}/evict", responses=errors(404, 409, 503))
    async def evict(name: str, body: TimeoutBody | None = None) -> bodies.DoneAnswer:
        """The Model becomes cold wherever it is assigned, after its requests in flight; it has left when this answers.

        The next request brings it back. A pinned model is not evicted: unpin it first.
        """
        pin = actor.state.seats.pinned_by(actor.state.model(name))
        if pin:
            who = "is pinned" if pin == name else f"is called by {pin!r}, which is pinned"
            raise Conflict(
                f"model {name!r} {who}, so it stays in memory; run `overbook unpin {pin}` first"
            )
        timeout = (body or TimeoutBody()).timeout
        for outcome in await command(actor, name, pb.Command.EVICT, timeout):
            if not outcome.ok:
                raise Conflict(outcome.reason)
        return {"warnings": []}

    @router.post("/{name}/pin", responses=errors(404, 409, 503))
    async def pin(name: str, call: Noted) -> bodies.DoneAnswer:
        """The Model is not evicted from now on, until `unpin`, or a manifest that says `pinned`.

        `warnings` name the models that this leaves without room.
        """
        return await _pin(actor, name, True, call)

    @router.post("/{name}/unpin", responses=errors(404, 409, 503))
    async def unpin(name: str, call: Noted) -> bodies.DoneAnswer:
        """The Model may be evicted again."""
        return await _pin(actor, name, False, call)


async def _looked_again(actor: Actor, surveyor: Surveyor, name: str, timeout: float) -> float:
    """Has the files of a model looked at that nobody could look at; the seconds that are left, one at least."""
    clock = asyncio.get_running_loop().time
    end = clock() + timeout
    with suppress(TimeoutError):
        async with asyncio.timeout_at(end):
            await surveyor.look_again(name)
            # An agent has to know of a model that it is told to load.
            await actor.unheard(actor.state.model(name).assigned)
    return max(1.0, end - clock())


async def _pin(actor: Actor, name: str, pinned: bool, call: Call) -> bodies.DoneAnswer:
    async def change(state: State, now: float) -> tuple[int, int]:
        before = state.model(name).generation
        set_pin(state, name, pinned)
        return before, state.model(name).generation

    call.changes.append(Change("Model", name, *await actor.submit(change)))
    seats = actor.state.seats
    model = seats.models.get(name)
    replicas = () if model is None else model.assigned
    warnings = pins.warnings(seats.replicas, seats.models, [name]) if pinned else []
    away = [each for each in replicas if not seats.replicas[each].connected]
    warnings += [
        f"the agent of {each} is not connected; it is told of this before it serves again"
        for each in away
    ]
    return {"warnings": [*warnings, *await actor.unheard(replicas)]}


def _servers(actor: Actor) -> APIRouter:
    router = APIRouter(prefix="/api/v1/servers", tags=["servers"])

    @router.get("", response_model=list[bodies.ServerObject])
    async def list_servers() -> Response:
        """All Servers are listed by name."""
        state = actor.state
        return answered(
            [
                status.server_object(state.server(name), state.replicas_of(name))
                for name in sorted(state.seats.servers)
            ]
        )

    @router.get("/{name}", response_model=bodies.ServerObject, responses=errors(404))
    async def get_server(name: str) -> Response:
        """One Server is shown."""
        state = actor.state
        return answered(status.server_object(state.server(name), state.replicas_of(name)))

    @router.get("/{name}/describe", response_model=bodies.ServerDescription, responses=errors(404))
    async def describe_server(name: str) -> Response:
        """The Server is shown, with the models registered on each replica, and what happened lately."""
        state = actor.state
        server, replicas = state.server(name), state.replicas_of(name)
        events = _recent(actor, "Server", name)
        return answered(status.server_description(server, replicas, events))

    @router.delete("/{name}", responses=errors(404, 503))
    async def delete_server(name: str, call: Noted) -> bodies.DoneAnswer:
        """The Server goes, and its models look for another place at once.

        `warnings` name the models that lose their place, and those that find no other.
        """

        async def remove(state: State, now: float) -> tuple[int, list[str]]:
            before = state.server(name).generation
            displaced = state.remove_server(name)
            for _ in state.bites(_BITE):
                await asyncio.sleep(0)
            return before, losses(state, name, displaced)

        before, warnings = await actor.submit(remove)
        call.changes.append(Change("Server", name, before))
        return {"warnings": [*warnings, *await actor.unheard()]}

    return router


def _logs(actor: Actor) -> APIRouter:
    router = APIRouter(prefix="/api/v1/servers", tags=["servers"])

    @router.get(
        "/{name}/replicas/{replica}/log",
        response_model=bodies.LogAnswer,
        responses=errors(400, 404, 429, 503),
    )
    async def read_log(
        name: str,
        replica: int,
        after: Annotated[
            str, Query(max_length=64, description="Only later lines: the `next` of before.")
        ] = "",
        lines: Annotated[
            int, Query(ge=0, le=10_000, description="Without `after`: so many of the last lines.")
        ] = 100,
        model: Annotated[
            str, Query(max_length=253, description="Only records that name this Model.")
        ] = "",
        wait: Annotated[
            float, Query(ge=0, le=60, description="Seconds to wait for lines when there are none.")
        ] = 0.0,
    ) -> Response:
        """Lines of the log of a replica's inference server are shown, 256 KiB at most."""
        actor.state.server(name)
        asked = ReplicaId(name, replica)
        if asked not in actor.state.seats.replicas:
            raise NotFound(f"server {name!r} has no replica {replica}; see `overbook get servers`")
        found = await actor.logs.read(asked, after=after, lines=lines, model=model, wait=wait)
        return answered(found)

    return router


def _events(actor: Actor) -> APIRouter:
    router = APIRouter(prefix="/api/v1", tags=["events"])

    @router.get("/events", response_model=bodies.EventsAnswer, responses=errors(400, 429))
    async def events(
        after: Annotated[
            int, Query(ge=0, description="Only events with a larger number: the `last` of before.")
        ] = 0,
        wait: Annotated[
            float,
            Query(ge=0, le=60, description="Seconds to wait for the first when there is none yet."),
        ] = 0.0,
        model: Annotated[
            str | None, Query(description="Only events of the Model of this name.")
        ] = None,
    ) -> Response:
        """What happened is listed, the oldest first. A number from before the scheduler's start lists all."""
        found = await actor.events.wait_after(after, wait=wait, name=model)
        answer: bodies.EventsAnswer = {
            "events": [status.event_object(each) for each in found],
            "last": found[-1].seq if found else actor.events.last,
        }
        return answered(answer)

    @router.get("/version")
    async def version() -> bodies.VersionAnswer:
        """The version that runs is told."""
        return {"version": __version__}

    return router


def _health(ready: ReadyCheck) -> APIRouter:
    router = APIRouter(tags=["health"], default_response_class=PlainTextResponse)

    @router.get("/healthz")
    async def healthz() -> Response:
        """This is 200 for as long as the scheduler runs."""
        return PlainTextResponse("ok\n")

    @router.get("/readyz", responses=_NOT_READY)
    async def readyz() -> Response:
        """This is 200 once everything that was to be served is, and 503 with what is missing until then."""
        missing = ready()
        if missing is not None:
            return PlainTextResponse(f"{missing}\n", status_code=503)
        return PlainTextResponse("ok\n")

    @router.get("/metrics")
    async def metrics() -> Response:
        """These are the metrics of this process and its agents' models, in the text format of Prometheus."""
        return Response(await PAGE.text(), media_type=CONTENT_TYPE)

    return router


def _recent(actor: Actor, kind: str, name: str) -> Sequence[Event]:
    return actor.events.after(0, kind=kind, name=name)[-_EVENTS_SHOWN:]
