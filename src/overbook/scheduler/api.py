"""The control API (docs/architecture.md): HTTP in, the actor asked, JSON out. Decides nothing."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable, Sequence
from typing import Annotated, Final, TypeAlias, cast

from fastapi import APIRouter, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

from overbook import __version__
from overbook.manifests.problems import Json, field_name, shown
from overbook.metrics import REGISTRY
from overbook.scheduler import bodies, pins, status
from overbook.scheduler.actor import Actor
from overbook.scheduler.apply import FAILED, SKIPPED, Result, apply
from overbook.scheduler.displaced import losses
from overbook.scheduler.errors import Conflict, Invalid, NotFound, SchedulerError, Unavailable
from overbook.scheduler.manifests_in import set_pin
from overbook.scheduler.service import command
from overbook.scheduler.state import State
from overbook.scheduler.surveyor import Surveyor
from overbook.wire import scheduler_pb2 as pb

# None when everything that was to be served is, else one line that names what is not.
ReadyCheck: TypeAlias = Callable[[], str | None]

_CODES: Final[tuple[tuple[type[SchedulerError], int], ...]] = (
    (Invalid, 400),
    (NotFound, 404),
    (Conflict, 409),
    (Unavailable, 503),
)
# Models written between two looks at the event loop: some milliseconds.
_BITE: Final = 500
_EVENTS_SHOWN: Final = 50
# 10,000 models are about 3 MB.
MAX_BODY: Final = 64 * 1024 * 1024


def create_app(actor: Actor, surveyor: Surveyor, ready: ReadyCheck) -> FastAPI:
    """The application; ``ready`` is asked on every `/readyz`."""
    app = FastAPI(
        title="Overbook control API",
        version=__version__,
        description="Register models and servers, and see what became of them.",
        redoc_url=None,
        max_body_size=MAX_BODY,
    )
    app.include_router(_documents(actor, surveyor))
    app.include_router(_models(actor))
    app.include_router(_servers(actor))
    app.include_router(_events(actor))
    app.include_router(_health(ready))
    app.add_exception_handler(SchedulerError, _scheduler_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)
    return app


async def _scheduler_error(request: Request, error: Exception) -> Response:
    code = next((code for kind, code in _CODES if isinstance(error, kind)), 503)
    return _answer({"error": str(error)}, code)


async def _invalid_request(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    lines = []
    for each in error.errors()[:3]:
        where = field_name(tuple(step for step in each["loc"] if step != "body")) or "body"
        lines.append(f"{where}: {shown(each.get('input'))}: {each['msg']}")
    return _answer({"error": "; ".join(lines)}, 400)


async def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    text = f"{request.method} {request.url.path}: {error.detail}; see /docs"
    return _answer({"error": text}, error.status_code)


def _documents(actor: Actor, surveyor: Surveyor) -> APIRouter:
    router = APIRouter(prefix="/api/v1", tags=["manifests"], responses=_errors(400, 503))

    @router.post("/apply", response_model=bodies.ApplyAnswer)
    async def apply_documents(body: bodies.ApplyBody) -> Response:
        """Registers or updates. Each document stands alone; all that succeed are durable on return.

        Requests that come after the answer find it so; `warnings` name who does not act by it yet.
        """
        results = await apply(actor, surveyor, cast("list[Json]", body.documents))
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
    async def validate_documents(body: bodies.ApplyBody) -> Response:
        """Checks as `apply` would, and stores nothing."""
        documents = cast("list[Json]", body.documents)
        return _results(await apply(actor, surveyor, documents, dry_run=True), ())

    return router


def _results(results: Sequence[Result], warnings: Sequence[str]) -> Response:
    return _answer(
        {"results": [dataclasses.asdict(each) for each in results], "warnings": list(warnings)}
    )


def _models(actor: Actor) -> APIRouter:
    router = APIRouter(prefix="/api/v1/models", tags=["models"])

    @router.get("", responses={200: {"model": list[bodies.ModelObject]}})
    async def list_models() -> Response:
        """All models by name."""
        seats = actor.state.seats
        texts: list[str] = []
        for index, name in enumerate(sorted(seats.models)):
            if index % _BITE == _BITE - 1:
                await asyncio.sleep(0)
            model = seats.models.get(name)
            if model is not None:
                texts.append(status.model_json(model, seats.replicas))
        return _json(f"[{','.join(texts)}]")

    @router.get("/{name}", responses={200: {"model": bodies.ModelObject}, **_errors(404)})
    async def get_model(name: str) -> Response:
        return _json(_model_text(actor.state, name))

    @router.get("/{name}/describe", responses=_errors(404))
    async def describe_model(name: str) -> Response:
        """The model, why each server replica holds it or does not, and what happened lately."""
        whole = json.loads(_model_text(actor.state, name))
        whole["verdict"] = status.verdict_object(actor.state.verdict(name))
        whole["events"] = _recent(actor, "Model", name)
        return _answer(whole)

    @router.delete("/{name}", response_model=bodies.DoneAnswer, responses=_errors(404, 503))
    async def delete_model(name: str) -> dict[str, object]:
        """The model drains and goes; its name is free when `get` no longer shows it.

        Requests that come after the answer are not answered by it; `warnings` name gateways that may not know yet.
        """

        async def remove(state: State, now: float) -> None:
            state.remove_model(name)

        await actor.submit(remove)
        return {"warnings": await actor.unheard()}

    _model_commands(actor, router)
    return router


def _model_commands(actor: Actor, router: APIRouter) -> None:
    @router.post(
        "/{name}/activate", response_model=bodies.DoneAnswer, responses=_errors(404, 409, 503)
    )
    async def activate(name: str, body: bodies.TimeoutBody | None = None) -> dict[str, object]:
        """Makes it resident wherever it is assigned."""
        timeout = (body or bodies.TimeoutBody()).timeout
        for outcome in await command(actor, name, pb.Command.ACTIVATE, timeout):
            if not outcome.ok:
                raise Unavailable(outcome.reason)
        return {"warnings": []}

    @router.post(
        "/{name}/evict", response_model=bodies.DoneAnswer, responses=_errors(404, 409, 503)
    )
    async def evict(name: str, body: bodies.TimeoutBody | None = None) -> dict[str, object]:
        """Makes it cold wherever it is assigned, after its requests in flight; it has left when this answers.

        The next request brings it back. A pinned model is not evicted: unpin it first.
        """
        if actor.state.model(name).needs.pinned:
            raise Conflict(
                f"model {name!r} is pinned, so it stays in memory; `overbook unpin {name}` first"
            )
        timeout = (body or bodies.TimeoutBody()).timeout
        for outcome in await command(actor, name, pb.Command.EVICT, timeout):
            if not outcome.ok:
                raise Conflict(outcome.reason)
        return {"warnings": []}

    @router.post("/{name}/pin", response_model=bodies.DoneAnswer, responses=_errors(404, 409, 503))
    async def pin(name: str) -> dict[str, object]:
        """Never evicts it from now on. Stands until `unpin`, or a manifest that says `pinned`.

        `warnings` name the models that this leaves without room.
        """
        return await _pin(actor, name, True)

    @router.post(
        "/{name}/unpin", response_model=bodies.DoneAnswer, responses=_errors(404, 409, 503)
    )
    async def unpin(name: str) -> dict[str, object]:
        return await _pin(actor, name, False)


async def _pin(actor: Actor, name: str, pinned: bool) -> dict[str, object]:
    async def change(state: State, now: float) -> None:
        set_pin(state, name, pinned)

    await actor.submit(change)
    seats = actor.state.seats
    model = seats.models.get(name)
    replicas = () if model is None else model.assigned
    warnings = pins.warnings(seats.replicas, seats.models, [name]) if pinned else []
    away = [each for each in replicas if not seats.replicas[each].connected]
    warnings += [
        f"the agent of {each} is not connected; it hears of this before it serves again"
        for each in away
    ]
    return {"warnings": [*warnings, *await actor.unheard(replicas)]}


def _servers(actor: Actor) -> APIRouter:
    router = APIRouter(prefix="/api/v1/servers", tags=["servers"])

    @router.get("", responses={200: {"model": list[bodies.ServerObject]}})
    async def list_servers() -> Response:
        """All Servers by name."""
        texts = [_server_text(actor.state, name) for name in sorted(actor.state.seats.servers)]
        return _json(f"[{','.join(texts)}]")

    @router.get("/{name}", responses={200: {"model": bodies.ServerObject}, **_errors(404)})
    async def get_server(name: str) -> Response:
        return _json(_server_text(actor.state, name))

    @router.get("/{name}/describe", responses=_errors(404))
    async def describe_server(name: str) -> Response:
        """The Server, and what happened lately."""
        whole = json.loads(_server_text(actor.state, name))
        whole["verdict"] = [
            {"replica": each.id.replica, "models": sorted(each.models), "limit": each.limit}
            for each in actor.state.replicas_of(name)
        ]
        whole["events"] = _recent(actor, "Server", name)
        return _answer(whole)

    @router.delete("/{name}", response_model=bodies.DoneAnswer, responses=_errors(404, 503))
    async def delete_server(name: str) -> dict[str, object]:
        """Its models look for another place at once; `warnings` say who loses theirs, and who finds no other."""

        async def remove(state: State, now: float) -> list[str]:
            displaced = state.remove_server(name)
            for _ in state.bites(_BITE):
                await asyncio.sleep(0)
            return losses(state, name, displaced)

        warnings = await actor.submit(remove)
        return {"warnings": [*warnings, *await actor.unheard()]}

    return router


def _events(actor: Actor) -> APIRouter:
    router = APIRouter(prefix="/api/v1", tags=["events"])

    @router.get("/events", response_model=bodies.EventsAnswer, responses=_errors(400))
    async def events(
        after: Annotated[int, Query(ge=0)] = 0,
        wait: Annotated[float, Query(ge=0, le=60)] = 0.0,
        model: str | None = None,
    ) -> Response:
        """Events after number ``after``; waits up to ``wait`` seconds for the first."""
        found = await actor.events.wait_after(after, wait=wait, name=model)
        last = found[-1].seq if found else actor.events.last
        return _answer({"events": [status.event_object(each) for each in found], "last": last})

    @router.get("/version")
    async def version() -> bodies.VersionAnswer:
        return bodies.VersionAnswer(version=__version__)

    return router


def _health(ready: ReadyCheck) -> APIRouter:
    router = APIRouter(tags=["health"])

    @router.get("/healthz")
    async def healthz() -> PlainTextResponse:
        """200 for as long as the scheduler runs."""
        return PlainTextResponse("ok\n")

    @router.get("/readyz")
    async def readyz() -> PlainTextResponse:
        """200 once everything that was to be served is, else 503 with what is not."""
        missing = ready()
        if missing is not None:
            return PlainTextResponse(f"{missing}\n", status_code=503)
        return PlainTextResponse("ok\n")

    @router.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Prometheus."""
        return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)

    return router


def _model_text(state: State, name: str) -> str:
    return status.model_json(state.model(name), state.seats.replicas)


def _server_text(state: State, name: str) -> str:
    return status.server_json(state.server(name), state.replicas_of(name))


def _recent(actor: Actor, kind: str, name: str) -> Sequence[dict[str, object]]:
    found = actor.events.after(0, kind=kind, name=name)
    return [status.event_object(each) for each in found[-_EVENTS_SHOWN:]]


def _answer(value: object, code: int = 200) -> Response:
    # ASCII: people's text may hold what JSON can say and UTF-8 cannot.
    return _json(json.dumps(value), code)


def _json(text: str, code: int = 200) -> Response:
    return Response(text, code, media_type="application/json")


def _errors(*codes: int) -> dict[int | str, dict[str, object]]:
    return {code: {"model": bodies.ErrorAnswer} for code in codes}
