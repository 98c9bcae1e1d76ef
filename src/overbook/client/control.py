"""The REST control API, one method a call. Answers are plain JSON objects, as docs/api.md shows.

Synchronous, on one connection, and quick to import: see `http`. Retrying and waiting for a state are
the caller's business.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import quote, urlencode

from overbook.client.addresses import API_URL_SETTING, DEFAULT_API_URL
from overbook.client.credentials import UNAUTHENTICATED, bearer, credentials, unknown
from overbook.client.errors import ClientError, NotFound, Refused
from overbook.client.http import Endpoint, Json, JsonObject, Reply

Kind = Literal["model", "server"]
Action = Literal["activate", "evict", "pin", "unpin"]

# Beyond the time that the scheduler itself was asked to wait.
_MARGIN: Final = 5.0
_APPLY_TIMEOUT: Final = 120.0


@dataclass(frozen=True, slots=True)
class Applied:
    """What became of one document. `error` is empty when all is well.

    With an action other than `failed` it says why the object, which is registered, is not placed. ``warnings``: about
    this one, a line each.
    """

    kind: str
    name: str
    generation: int
    action: str
    error: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ApplyReply:
    """What became of each document, in order. ``warnings`` are about all of them together, a line each."""

    results: tuple[Applied, ...]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EventPage:
    """Events in order; ask again after `last`."""

    events: tuple[JsonObject, ...]
    last: int


@dataclass(frozen=True, slots=True)
class LogPage:
    """Lines of a log; ask again after `next`. `path`: on the agent's machine. `missed`: lines before these are lost."""

    lines: tuple[str, ...]
    next: str
    path: str
    missed: bool


class ControlClient:
    """A running Overbook's control API. Every method may raise the errors of `errors`."""

    def __init__(
        self,
        url: str = DEFAULT_API_URL,
        *,
        timeout: float = 30.0,
        token: str = "",
        context: ssl.SSLContext | None = None,
    ) -> None:
        """`token`: to be shown; without one, that of the environment. `context`: for https, likewise."""
        headers = bearer(token) if token else credentials()
        self._endpoint = Endpoint(url, setting=API_URL_SETTING, headers=headers, context=context)
        self._timeout = timeout

    def __enter__(self) -> ControlClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._endpoint.close()

    @property
    def url(self) -> str:
        return self._endpoint.url

    def apply(self, documents: Sequence[JsonObject]) -> ApplyReply:
        """Stores manifests; each stands alone, so look at every answer. Send some hundreds at a time."""
        return self._documents("/api/v1/apply", documents)

    def validate(self, documents: Sequence[JsonObject]) -> tuple[Applied, ...]:
        """As `apply`, and nothing is stored."""
        return self._documents("/api/v1/validate", documents).results

    def list(self, kind: Kind) -> tuple[JsonObject, ...]:
        """All models or all servers."""
        return tuple(map(_object, _array(self._get(f"/api/v1/{kind}s"))))

    def get(self, kind: Kind, name: str) -> JsonObject:
        return _object(self._get(f"/api/v1/{kind}s/{quote(name, safe='')}"))

    def describe(self, kind: Kind, name: str) -> JsonObject:
        """The object, and with it its `verdict` and recent `events`."""
        return _object(self._get(f"/api/v1/{kind}s/{quote(name, safe='')}/describe"))

    def delete(self, kind: Kind, name: str) -> tuple[str, ...]:
        """What follows from it that people should know, a line each."""
        path = f"/api/v1/{kind}s/{quote(name, safe='')}"
        return _warnings(_object(self._call("DELETE", path, timeout=self._timeout)))

    def act(self, action: Action, model: str, *, timeout: float) -> tuple[str, ...]:
        """Activates, evicts, pins or unpins a model; the scheduler may take `timeout` seconds over it.

        What follows from it that people should know, a line each.
        """
        path = f"/api/v1/models/{quote(model, safe='')}/{action}"
        answer = self._call("POST", path, {"timeout": timeout}, timeout=timeout + _MARGIN)
        return _warnings(_object(answer))

    def secrets(self) -> tuple[JsonObject, ...]:
        """All that are stored, without what is in them."""
        return tuple(map(_object, _array(self._get("/api/v1/secrets"))))

    def set_secret(self, name: str, text: str) -> tuple[str, ...]:
        """One rclone remote in JSON or YAML. What follows from it that people should know, a line each."""
        path = f"/api/v1/secrets/{quote(name, safe='')}"
        return _warnings(_object(self._call("PUT", path, {"text": text}, timeout=self._timeout)))

    def delete_secret(self, name: str) -> tuple[str, ...]:
        """What follows from it that people should know, a line each."""
        path = f"/api/v1/secrets/{quote(name, safe='')}"
        return _warnings(_object(self._call("DELETE", path, timeout=self._timeout)))

    def tokens(self) -> tuple[JsonObject, ...]:
        """All that there are, without what makes them tokens."""
        return tuple(map(_object, _array(self._get("/api/v1/tokens"))))

    def create_token(
        self,
        name: str,
        role: str,
        *,
        models: Sequence[str] = (),
        expires_in: float | None = None,
        requests_per_second: int | None = None,
        waiting: int | None = None,
    ) -> JsonObject:
        """The new token, in `token` of the answer, which is the only one that has it. `expires_in`: seconds.

        `requests_per_second`, `waiting` (for models): at most, at each gateway.
        """
        body: JsonObject = {
            "name": name,
            "role": role,
            "models": list(models),
            "expiresIn": expires_in,
            "requestsPerSecond": requests_per_second,
            "waiting": waiting,
        }
        return _object(self._call("POST", "/api/v1/tokens", body, timeout=self._timeout))

    def revoke_token(self, name: str) -> tuple[str, ...]:
        """What follows from it that people should know, a line each."""
        path = f"/api/v1/tokens/{quote(name, safe='')}"
        return _warnings(_object(self._call("DELETE", path, timeout=self._timeout)))

    def events(self, *, after: int = 0, wait: float = 0.0, model: str | None = None) -> EventPage:
        """Events later than sequence number `after`; when there are none, waits up to `wait` seconds."""
        query: dict[str, str] = {"after": str(after)}
        if wait:
            query["wait"] = f"{wait:g}"
        if model is not None:
            query["model"] = model
        answer = self._call(
            "GET", f"/api/v1/events?{urlencode(query)}", timeout=wait + self._timeout
        )
        page = _object(answer)
        last = page.get("last")
        events = tuple(map(_object, _array(page.get("events"))))
        return EventPage(events, last if isinstance(last, int) else after)

    def audit(
        self,
        *,
        after: int | None = None,
        since: str = "",
        model: str | None = None,
        wait: float = 0.0,
    ) -> EventPage:
        """Entries of the audit log: the last ones, or the first after a number, or since a time (RFC 3339)."""
        given = {
            "after": None if after is None else str(after),
            "since": since or None,
            "model": model,
            "wait": f"{wait:g}" if wait else None,
        }
        query = urlencode({name: value for name, value in given.items() if value is not None})
        answer = self._call("GET", f"/api/v1/audit?{query}", timeout=wait + self._timeout)
        page = _object(answer)
        last = page.get("last")
        entries = tuple(map(_object, _array(page.get("entries"))))
        return EventPage(entries, last if isinstance(last, int) else after or 0)

    def log(
        self,
        server: str,
        replica: int,
        *,
        after: str = "",
        lines: int = 100,
        model: str = "",
        wait: float = 0.0,
    ) -> LogPage:
        """The last lines of an inference server's log, or those `after` a place; waits up to `wait` seconds for some.

        `model`: only what names it.
        """
        query = {"after": after, "lines": str(lines), "model": model, "wait": f"{wait:g}"}
        path = f"/api/v1/servers/{quote(server, safe='')}/replicas/{replica}/log"
        answer = self._call("GET", f"{path}?{urlencode(query)}", timeout=wait + self._timeout)
        page = _object(answer)
        return LogPage(
            lines=tuple(map(str, _array(page.get("lines")))),
            next=_text(page, "next"),
            path=_text(page, "path"),
            missed=page.get("missed") is True,
        )

    def version(self) -> str:
        return _text(_object(self._get("/api/v1/version")), "version")

    def ready(self) -> bool:
        """Whether everything that `up` was given is serving."""
        return self._endpoint.call("GET", "/readyz", timeout=self._timeout).status == 200

    def _documents(self, path: str, documents: Sequence[JsonObject]) -> ApplyReply:
        body: JsonObject = {"documents": [*documents]}
        answer = _object(self._call("POST", path, body, timeout=_APPLY_TIMEOUT))
        results = tuple(map(_applied, map(_object, _array(answer.get("results")))))
        if len(results) != len(documents):
            raise ClientError(
                f"{self.url} answered for {len(results)} of {len(documents)} documents; "
                "is it the same version of Overbook?"
            )
        return ApplyReply(results, _warnings(answer))

    def _get(self, path: str) -> Json:
        return self._call("GET", path, timeout=self._timeout)

    def _call(self, method: str, path: str, body: Json = None, *, timeout: float) -> Json:
        reply = self._endpoint.call(method, path, body, timeout=timeout)
        _raise_for(reply)
        try:
            return reply.json()
        except ValueError:
            raise Refused(
                f"{self.url} does not answer as Overbook's control API; is it another program's port?"
            ) from None


def _raise_for(reply: Reply) -> None:
    if reply.status == 404:
        raise NotFound(reply.said())
    if reply.status == UNAUTHENTICATED:
        raise Refused(unknown(), reply.status)
    if reply.status >= 300:
        raise Refused(reply.said(), reply.status)


def _object(value: Json) -> JsonObject:
    if not isinstance(value, dict):
        raise Refused("the control API's answer is not the JSON expected; is it another version?")
    return value


def _array(value: Json) -> list[Json]:
    if not isinstance(value, list):
        raise Refused("the control API's answer is not the JSON expected; is it another version?")
    return value


def _warnings(answer: JsonObject) -> tuple[str, ...]:
    found = answer.get("warnings")
    return tuple(str(each) for each in found) if isinstance(found, list) else ()


def _text(value: JsonObject, key: str) -> str:
    found = value.get(key)
    return found if isinstance(found, str) else ""


def _applied(result: JsonObject) -> Applied:
    generation = result.get("generation")
    return Applied(
        kind=_text(result, "kind"),
        name=_text(result, "name"),
        generation=generation if isinstance(generation, int) else 0,
        action=_text(result, "action"),
        error=_text(result, "error"),
        warnings=_warnings(result),
    )
