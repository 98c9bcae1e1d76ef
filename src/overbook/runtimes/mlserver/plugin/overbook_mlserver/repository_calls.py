"""Loads, unloads and what goes before them on the endpoint for gateways, which the agent uses as well.

A load brings the model's settings along (see `repository`). It answers with what was warned of meanwhile, and what the
model that it replaced had counted (see `Book.shown`): {"warned": [TEXT], "left": {...}}. An unload answers
{"gave": BYTES, "said": WHAT WENT WRONG, "left": {...}}. What there is nothing of is left out.

Over grpc.aio such a call goes through the event loop several times and each time waits for the prediction that runs
there, here once or twice: beside ten clients of a forest an unload took 57 ms, and takes 11.

``settle`` and ``idle`` are ours alone. ``settle`` ends when nothing of a model that is leaving is in flight here. Its
body: {"passed": {GATEWAY: COUNT}, "seconds": FOR WHICH THE MISSING ARE WAITED FOR}. ``idle`` takes the same and answers
``true`` as soon as nothing of a model in use is in flight, or ``false`` after so many seconds; it changes nothing.
``metrics`` answers {"models": {NAME: {...}}}.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Any

import orjson
from mlserver.errors import MLServerError

from overbook_mlserver import load_warnings
from overbook_mlserver.activity import Activity
from overbook_mlserver.books import Books
from overbook_mlserver.gateway_endpoint import Headers, Reply, Work
from overbook_mlserver.offload import describe
from overbook_mlserver.registry import Registry
from overbook_mlserver.repository import given_settings
from overbook_mlserver.rest_errors import RestErrors
from overbook_mlserver.samples import Samples
from overbook_mlserver.settling import idle, idle_now, settled, settled_now
from overbook_mlserver.traffic import Traffic

_BAD_REQUEST = 400
_IDLE, _IN_USE = Reply([], b"true"), Reply([], b"false")


class RepositoryCalls:
    """A `ShortWay`. ``errors``: says what MLServer's application would. ``traffic``: of this endpoint."""

    # Whoever asked for a load and has gone does not want it any more, as over gRPC.
    cancels = True
    in_line = False
    path = re.compile(
        rb"/v2/repository/(?:models/([^/?#%]+)/(load|unload|settle|idle|grown|sample)|(bodies|metrics))"
    )

    def __init__(
        self,
        registry: Registry,
        errors: RestErrors,
        traffic: Traffic,
        activity: Activity,
        samples: Samples,
        books: Books,
    ) -> None:
        self._books = books
        self._samples = samples
        self._registry = registry
        self._errors = errors
        self._traffic = traffic
        self._activity = activity

    def prepare(self, found: re.Match[bytes], headers: Headers, body: bytes) -> Work | Reply | None:
        if found[1] is None:
            return self._metrics if found[3] == b"metrics" else self._bodies
        name, call = found[1].decode("latin-1"), found[2]
        if call == b"unload":
            return functools.partial(self._unload, name, body)
        if call in (b"settle", b"idle"):
            return self._in_flight(found[1], call, body)
        if call == b"grown":
            return functools.partial(self._grown, name)
        if call == b"sample":
            return Reply([], self._samples.take(name) or b"")
        # MLServer's own call has no body; its settings lie in a folder.
        return functools.partial(self._load, name, body) if body else None

    async def _load(self, name: str, body: bytes) -> Reply:
        try:
            settings = given_settings(name, orjson.loads(body))
        except (ValueError, TypeError, AttributeError) as error:
            raise MLServerError(
                f"settings of model '{name}': expected an object as in model-settings.json: {describe(error)}",
                _BAD_REQUEST,
            ) from error
        with load_warnings.gathering() as warned:
            model = await self._registry.load(settings)
        load_warnings.remember(model, warned)
        return _told(warned=warned, left=self._books.take_left(name))

    async def _unload(self, name: str, body: bytes) -> Reply:
        # There is one wish that a body may contain.
        gave, said = (
            await self._registry.unload_measured(name)
            if body
            else (None, await self._registry.unload_said(name))
        )
        return _told(gave=gave, said=said, left=self._books.take_left(name))

    async def _grown(self, name: str) -> Reply:
        return _number(await self._registry.grown(name))

    async def _bodies(self) -> Reply:
        """Bytes of the bodies of requests that are being answered."""
        return _number(self._activity.bodies)

    async def _metrics(self) -> Reply:
        return Reply([], orjson.dumps({"models": await self._books.shown()}))

    def _in_flight(self, name: bytes, call: bytes, body: bytes) -> Work | Reply:
        try:
            wanted = orjson.loads(body)
            passed = {each.encode("latin-1"): int(n) for each, n in wanted["passed"].items()}
            patience = float(wanted["seconds"])
        except (ValueError, TypeError, AttributeError, LookupError) as error:
            expected = '{"passed": {GATEWAY: COUNT}, "seconds": NUMBER}'
            return functools.partial(
                _refuse,
                f"{call.decode()} of '{name.decode('latin-1')}': expected {expected}: {describe(error)}",
            )
        if call == b"idle":
            if idle_now(self._traffic, name, passed):
                return _IDLE
            return functools.partial(self._look, name, passed, patience)
        if settled_now(self._traffic, name, passed):
            return Reply([], b"")
        return functools.partial(self._wait, name, passed, patience)

    async def _wait(self, name: bytes, passed: Mapping[bytes, int], patience: float) -> Reply:
        await settled(self._traffic, name, passed, patience=patience)
        return Reply([], b"")

    async def _look(self, name: bytes, passed: Mapping[bytes, int], patience: float) -> Reply:
        return _IDLE if await idle(self._traffic, name, passed, patience=patience) else _IN_USE

    async def failed(self, scope: Any, receive: Any, send: Any, error: Exception) -> None:
        await self._errors.answer(scope, receive, send, error)


def _told(**found: object) -> Reply:
    there = {key: value for key, value in found.items() if value not in (None, "", [])}
    return Reply([], orjson.dumps(there) if there else b"")


def _number(found: int | None) -> Reply:
    """Bytes; nothing where they are not known."""
    return Reply([], b"" if found is None else b"%d" % found)


async def _refuse(reason: str) -> Reply:
    raise MLServerError(reason, _BAD_REQUEST)
