"""The endpoint for gateways: inference over HTTP/1.1 with little in front of MLServer's data plane.

A proxy on the way costs time; here most of it is won back. Some calls are answered without FastAPI and without
grpc.aio, whose overhead is larger than a small model's prediction: REST ``infer``, gRPC ``ModelInfer``, which
Envoy passes on over HTTP/1.1, and the agent's loads and unloads. Whatever else comes in, or is in any way
unusual, goes to MLServer's own application, and so do errors: both ports give the same answers. What the calls do
is in ``rest_infer``, ``grpc_infer`` and ``repository_calls``; here are connections only.

Each request for a model is counted while it is here, from the end of its head on (see ``traffic``): the agent unloads
no model of which one is.

A connection that waits for its next request holds nothing of the last one: its head, its task and their names lay in
the midst of whatever model was loading at that time, and kept 3 MB of those that had left, of 12 that stayed (see
``pools``).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import urllib.parse
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import uvicorn
from uvicorn.protocols.http.httptools_impl import (
    HEADER_RE,
    HEADER_VALUE_RE,
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from overbook_mlserver.activity import Activity
from overbook_mlserver.one_at_a_time import OneAtATime
from overbook_mlserver.traffic import Traffic

Headers = list[tuple[bytes, bytes]]

_MODELS = b"/v2/models/"
# What gateways say: the model, but not of direct requests over REST, whose path tells; and who let it through.
_OURS = b"x-overbook-"
_MODEL_HEADER = b"x-overbook-model"
_GRANT_HEADER = b"x-overbook-grant"
# Of a request that MLServer's application answers, in its scope.
_VISIT = "overbook_visit"
# Nobody adds to it.
_NO_HEADERS: Headers = []


@dataclass(frozen=True)
class Reply:
    """What goes back with status 200. ``chunked``: the body is framed already. ``signed``: with uvicorn's own
    headers, such as the date.
    """

    headers: Headers
    body: bytes
    chunked: bool = False
    signed: bool = True


Work = Callable[[], Awaitable[Reply]]


class ShortWay(Protocol):
    """One kind of call that is answered here."""

    # Whether the work ends when the caller has gone, as it does on MLServer's own port.
    cancels: bool
    # Whether it computes, and therefore stands in the `OneAtATime`'s line.
    in_line: bool
    path: re.Pattern[bytes]

    def prepare(self, found: re.Match[bytes], headers: Headers, body: bytes) -> Work | Reply | None:
        """The work to do, or the answer if there is none to do. None: MLServer's application must see this request."""

    async def failed(self, scope: Any, receive: Any, send: Any, error: Exception) -> None:
        """Answer for work that raised."""


class GatewayEndpoint(uvicorn.Server):
    """Serves until `stop`. ``app``: MLServer's REST application. ``listening``: of uvicorn's configuration."""

    def __init__(
        self,
        app: Any,
        ways: list[ShortWay],
        one_at_a_time: OneAtATime,
        traffic: Traffic,
        activity: Activity,
        *,
        listening: Mapping[str, Any],
        keep_alive: int,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=functools.partial(
                    _Connection,
                    ways=ways,
                    one_at_a_time=one_at_a_time,
                    traffic=traffic,
                    activity=activity,
                ),
                **listening,
                timeout_keep_alive=keep_alive,
                access_log=False,
                # The other port's server has set up logging, and runs the application's lifespan.
                log_config=None,
                lifespan="off",
                ws="none",
            )
        )

    def stop(self) -> None:
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the other port's server's."""
        yield


class _Visit:
    """A request for a model that is here, with its body. It leaves once, whoever sees to it first."""

    __slots__ = ("_activity", "_body", "_model", "_traffic")

    def __init__(
        self, traffic: Traffic, activity: Activity, model: bytes, gateway: bytes | None
    ) -> None:
        traffic.enter(model, gateway)
        activity.begin(model)
        self._traffic: Traffic | None = traffic
        self._activity = activity
        self._model = model
        self._body = 0

    def bring(self, size: int) -> None:
        """So many bytes more of its body are here."""
        if self._traffic is not None:
            self._body += size
            self._activity.bodies += size

    def leave(self) -> None:
        traffic, self._traffic = self._traffic, None
        if traffic is not None:
            self._activity.bodies -= self._body
            self._activity.end()
            traffic.leave(self._model)


class _Connection(HttpToolsProtocol):
    """uvicorn's protocol, with a short cut for the requests that a `ShortWay` takes."""

    def __init__(
        self,
        *args: Any,
        ways: list[ShortWay],
        one_at_a_time: OneAtATime,
        traffic: Traffic,
        activity: Activity,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._ways = ways
        self._one_at_a_time = one_at_a_time
        self._traffic = traffic
        self._activity = activity
        self._application = self.app
        self.app = self._attended
        # The request that is being read, while a short way may take it.
        self._reading: tuple[ShortWay, re.Match[bytes]] | None = None
        self._parts: list[bytes] = []
        # The request that came last, and all that nobody works on yet.
        self._visit: _Visit | None = None
        self._expected: set[_Visit] = set()
        # Whether a request has begun to come in and is not all there.
        self._coming = False

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        for visit in self._expected:
            visit.leave()
        self._expected.clear()

    def on_message_begin(self) -> None:
        self._coming = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._enter()
        self._reading = self._short_way()
        if self._reading is None:
            self._to_application()

    def _enter(self) -> None:
        model = gateway = None
        ours = False
        for name, value in self.headers:
            if name.startswith(_OURS):
                ours = True
                if name == _MODEL_HEADER:
                    model = value
                elif name == _GRANT_HEADER:
                    gateway = value
        if ours:
            # Models see headers, and some show them to clients. By the model's name `own_paths` finds whose a path is.
            self.headers[:] = [
                each
                for each in self.headers
                if each[0] == _MODEL_HEADER or not each[0].startswith(_OURS)
            ]
        if model is None and self.url.startswith(_MODELS):
            model = self.url[len(_MODELS) :].partition(b"/")[0]
            if b"%" in model:
                model = urllib.parse.unquote_to_bytes(model)
        if model is None:
            self._visit = None
            return
        self._visit = _Visit(self._traffic, self._activity, model, gateway)
        self._expected.add(self._visit)

    def _short_way(self) -> tuple[ShortWay, re.Match[bytes]] | None:
        parser = self.parser
        if (
            not self._is_idle()
            or self.expect_100_continue
            or parser.get_method() != b"POST"
            or parser.should_upgrade()
            or parser.get_http_version() != "1.1"
        ):
            return None
        for way in self._ways:
            found = way.path.fullmatch(self.url)
            if found is not None:
                return way, found
        return None

    def _is_idle(self) -> bool:
        """Else what comes is pipelined: it waits for its turn in uvicorn's queue."""
        return self.cycle is None or self.cycle.response_complete

    def _to_application(self) -> None:
        if self._visit is not None:
            self.scope[_VISIT] = self._visit
            if self._is_idle():
                self._expected.discard(self._visit)
        super().on_headers_complete()

    async def _attended(self, scope: Any, receive: Any, send: Any) -> None:
        """MLServer's application."""
        visit: _Visit | None = scope.pop(_VISIT, None)
        if visit is None:
            await self._application(scope, receive, send)
            return
        self._expected.discard(visit)
        try:
            await self._application(scope, receive, send)
        finally:
            visit.leave()

    def on_body(self, body: bytes) -> None:
        if self._visit is not None:
            self._visit.bring(len(body))
        if self._reading is None:
            super().on_body(body)
        else:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        self._coming = False
        reading, self._reading = self._reading, None
        if reading is None:
            super().on_message_complete()
            return
        way, found = reading
        body = b"".join(self._parts)
        self._parts = []
        work = way.prepare(found, self.headers, body)
        if work is None:
            self._to_application()
            super().on_body(body)
            super().on_message_complete()
            return
        if self._visit is not None:
            self._expected.discard(self._visit)
        cycle = _ShortCycle(self, way, self._visit, keep_alive=self.parser.should_keep_alive())
        self.cycle = cycle
        if isinstance(work, Reply):
            # A task for it would have to wait for whatever else the loop is to do first.
            cycle.answer(work)
            cycle.leave()
            return
        begin = functools.partial(self._begin, cycle, work)
        if way.in_line:
            self._one_at_a_time.enter(begin)
        else:
            begin()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._coming and self._is_idle():
            self.cycle = self.scope = self._visit = None
            self.url, self.headers = b"", _NO_HEADERS

    def _begin(self, cycle: _ShortCycle, work: Work) -> None:
        if cycle.disconnected and cycle.cancels:
            cycle.leave()
            return
        task = self.loop.create_task(cycle.run(work))
        cycle.task = task
        self.tasks.add(task)
        task.add_done_callback(cycle.ended)


class _ShortCycle:
    """A request and its answer; to `_Connection` what uvicorn's own cycle is."""

    def __init__(
        self, connection: _Connection, way: ShortWay, visit: _Visit | None, *, keep_alive: bool
    ) -> None:
        self._connection = connection
        self._way = way
        self._visit = visit
        self._scope: Any = connection.scope
        self._url = connection.url
        self.keep_alive = keep_alive
        self.disconnected = False
        self.response_complete = False
        self.task: asyncio.Task[None] | None = None

    @property
    def cancels(self) -> bool:
        return self._way.cancels

    @property
    def message_event(self) -> _ShortCycle:
        """That by which uvicorn tells a waiting application of a lost connection."""
        return self

    def set(self) -> None:
        """The connection is lost."""
        if self.cancels and self.task is not None and not self.response_complete:
            self.task.cancel()

    def ended(self, task: asyncio.Task[None]) -> None:
        """Also when it was cancelled before it began."""
        self._connection.tasks.discard(task)
        self.task = None
        self.leave()

    def leave(self) -> None:
        """Nobody works on it any more, nor will."""
        if self._visit is not None:
            self._visit.leave()

    async def run(self, work: Work) -> None:
        try:
            reply = await work()
            head = self._head(reply)
        except Exception as error:
            await self._fail(error)
            return
        connection = self._connection
        if connection.flow.write_paused and not self.disconnected:
            await connection.flow.drain()
        self._write(head + reply.body)

    def answer(self, reply: Reply) -> None:
        """At once. Small answers only: whether the other side reads what it asked for is not looked at."""
        self._write(self._head(reply) + reply.body)

    def _head(self, reply: Reply) -> bytes:
        return _head(reply, self._connection.server_state.default_headers, self.keep_alive)

    def _write(self, answer: bytes) -> None:
        connection = self._connection
        if not self.disconnected:
            connection.transport.write(answer)
            if not self.keep_alive:
                connection.transport.close()
        self._complete()

    async def _fail(self, error: Exception) -> None:
        connection = self._connection
        path = self._url.decode("latin-1")
        self._scope |= {
            "method": "POST",
            "path": path,
            "raw_path": self._url,
            "query_string": b"",
        }
        cycle = RequestResponseCycle(
            scope=self._scope,
            transport=connection.transport,
            flow=connection.flow,
            logger=connection.logger,
            access_logger=connection.access_logger,
            access_log=False,
            default_headers=connection.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=self.keep_alive,
            on_response=self._complete,
        )
        cycle.disconnected = self.disconnected

        async def answer(scope: Any, receive: Any, send: Any) -> None:
            await self._way.failed(scope, receive, send, error)

        await cycle.run_asgi(answer)

    def _complete(self) -> None:
        self.response_complete = True
        self._connection.on_response_complete()


def _head(reply: Reply, default: Headers, keep_alive: bool) -> bytes:
    """Raises RuntimeError when a header cannot be sent, as uvicorn does."""
    if HEADER_RE.search(b"".join([name for name, _ in reply.headers])):
        raise RuntimeError("Invalid HTTP header name.")
    if HEADER_VALUE_RE.search(b"".join([value for _, value in reply.headers])):
        raise RuntimeError("Invalid HTTP header value.")
    lines = [STATUS_LINE[200]]
    for name, value in default if reply.signed else ():
        lines += (name, b": ", value, b"\r\n")
    if reply.chunked:
        lines.append(b"transfer-encoding: chunked\r\n")
    else:
        lines.append(b"content-length: %d\r\n" % len(reply.body))
    for name, value in reply.headers:
        lines += (name, b": ", value, b"\r\n")
    if not keep_alive:
        lines.append(b"connection: close\r\n")
    lines.append(b"\r\n")
    return b"".join(lines)
