"""Calls about shared memory, trace and log settings: passed on to the servers whose Server allows it, else refused.

What registers or sets something goes to all replicas of those Servers, since a request may be answered by any of them.
Knows no transport but the form of a question (`asking`); the calls about models in memory are `repository`'s.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from overbook.gateway.oip.answers import Answers
from overbook.gateway.oip.asking import OverGrpc, Question, Reply
from overbook.gateway.oip.errors import BadRequest, NoSuchCall, NotAllowed, NotAvailable
from overbook.gateway.oip.kept import Kept, unregistration
from overbook.gateway.oip.ports import AllowedView, Residency, ServerAddress
from overbook.gateway.oip.surface import Call, Way, how_to_allow
from overbook.runtimes.server_kinds import SHARED_MEMORY, TRACE

# The kind of a region and what is done with it, over REST and over gRPC.
_ABOUT_REGIONS: Final = re.compile(
    r"(system|cuda)sharedmemory(?:/.*/|/)?(status|register|unregister)$"
)


@dataclass(frozen=True, slots=True)
class Asked:
    """One call of a client's. ``name``: the region or the model that it is about; "" for none, or all."""

    call: Call
    question: Question
    name: str = ""


class PassedOn:
    """Over both protocols."""

    def __init__(
        self, answers: Answers, allowed: AllowedView, residency: Residency, kept: Kept
    ) -> None:
        self._answers = answers
        self._allowed = allowed
        self._residency = residency
        self._kept = kept

    async def answer(self, asked: Asked) -> Reply:
        """What a server said, or all of them. Raises NoAnswer."""
        if asked.call.allow == SHARED_MEMORY:
            return await self._regions(asked)
        if asked.name:
            return await self._of_model(asked)
        changed = changes(asked)
        where = self._allowing(asked)
        if not changed:
            return await asked.question.ask(where[0])
        reply = _worst(await _all(asked.question, where))
        if reply.ok:
            self._kept.settings(asked.call.allow, changed)
        return reply

    def _allowing(self, asked: Asked) -> Sequence[ServerAddress]:
        """The servers that allow it and can be asked; at least one. Raises NotAllowed, NotAvailable."""
        word = asked.call.allow
        servers = self._allowed.servers(word)
        if not servers:
            raise self._answers.refuse(asked.call)
        where = [each for each in servers if each is not None]
        if not where:
            raise NotAvailable(
                f"none of the servers that allow it ({word}) can be asked now; try again"
            )
        return where

    async def _of_model(self, asked: Asked) -> Reply:
        """The servers know a model by its name only while they have it in memory, so it is brought there."""
        name, word = asked.name, asked.call.allow
        entry = self._answers.model(name)
        if not self._allowed.servers(word):
            raise self._answers.refuse(asked.call, name)
        if not entry.available:
            raise NotAvailable(f"model {name!r} is not available: {entry.reason}")
        if asked.call.way(self._answers.kind(name)) is Way.ABSENT:
            raise self._answers.refuse(asked.call, name)
        check_allowed(self._allowed, name, word)
        everywhere = bool(changes(asked))
        async with self._residency.resident(name, everywhere=everywhere) as where:
            return _worst(await _all(asked.question, where))

    async def _regions(self, asked: Asked) -> Reply:
        found = _ABOUT_REGIONS.search(asked.call.path.lower())
        if found is None:
            raise NoSuchCall(f"no such call: {asked.call.path}")
        kind, verb = found.groups()
        if verb == "register":
            return await self._register(asked, kind)
        if not self._allowed.servers(SHARED_MEMORY):
            if verb == "status":
                self._answers.region(asked.name, kind)
            return asked.question.nothing(listed=verb == "status")
        where = self._allowing(asked)
        if verb == "unregister":
            self._kept.no_region(kind, asked.name)
            return _worst(await _all(asked.question, where))
        replies = [each for each in await _tried(asked.question, where) if isinstance(each, Reply)]
        listing = [each for each in replies if each.ok]
        if not replies:
            raise NotAvailable("none of the servers that allow it did answer; try again")
        return asked.question.merged(listing) if listing else replies[0]

    async def _register(self, asked: Asked, kind: str) -> Reply:
        """With all of them or none: a request that names the region may be answered by any."""
        where = self._allowing(asked)
        tried = await _tried(asked.question, where)
        took = [at for at, said in zip(where, tried, strict=True) if _took(said)]
        if took == where:
            self._kept.region(kind, asked.name, asked.question)
        elif asked.name:
            undone = (unregistration(kind, asked.name).ask(each) for each in took)
            await asyncio.gather(*undone, return_exceptions=True)
        failed = next((each for each in tried if not _took(each)), tried[0])
        if isinstance(failed, NotAvailable):
            raise failed
        return failed


def check_allowed(allowed: AllowedView, name: str, word: str) -> None:
    """Raises NotAllowed where a Server that has the model does not allow what the word says."""
    forbidding = allowed.forbidding(name, word)
    if forbidding:
        raise NotAllowed(
            f"refused: model {name!r} is on Server {forbidding[0]}, which does not allow it; {how_to_allow(word)}"
        )


def changes(asked: Asked) -> dict[str, object]:
    """The settings that a call changes; none where it only looks. As JSON, in the form of the REST interface."""
    question = asked.question
    if not isinstance(question, OverGrpc):
        try:
            body = json.loads(question.body) if question.method == "POST" else {}
        except (ValueError, RecursionError):
            return {}  # the server says what is wrong with it
        return body if isinstance(body, dict) else {}
    from google.protobuf.message import DecodeError
    from tritonclient.grpc import service_pb2 as pb

    try:
        if asked.call.allow == TRACE:
            settings = pb.TraceSettingRequest.FromString(question.message).settings
            return {name: _values(name, [*each.value]) for name, each in settings.items()}
        settings = pb.LogSettingsRequest.FromString(question.message).settings
        return {
            name: getattr(each, each.WhichOneof("parameter_choice") or "string_param")
            for name, each in settings.items()
        }
    except DecodeError:
        raise BadRequest(f"message: not one of {question.method}") from None


def _values(name: str, values: list[str]) -> object:
    """REST has lists for levels only; without a value a setting is what it was at the start."""
    if not values:
        return None
    return values if name == "trace_level" else values[0]


async def _all(question: Question, where: Sequence[ServerAddress]) -> list[Reply]:
    return list(await asyncio.gather(*(question.ask(each) for each in where)))


def _worst(replies: Sequence[Reply]) -> Reply:
    return next((each for each in replies if not each.ok), replies[0])


async def _tried(question: Question, where: Sequence[ServerAddress]) -> list[Reply | NotAvailable]:
    async def ask(each: ServerAddress) -> Reply | NotAvailable:
        try:
            return await question.ask(each)
        except NotAvailable as silent:
            return silent

    return list(await asyncio.gather(*(ask(each) for each in where)))


def _took(said: Reply | NotAvailable) -> bool:
    return isinstance(said, Reply) and said.ok
