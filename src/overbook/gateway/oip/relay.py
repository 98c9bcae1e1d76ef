"""Carries ModelStreamInfer streams from Envoy's public side to its internal listener.

Theory of operation. A stream names its model in its first message, and Envoy cannot look at the first message without
waiting for the last one (docs/adr/0003). So Envoy hands every stream to this relay; the relay reads one message, finds
the name, and opens the same method at Envoy's internal listener with the name in ``x-overbook-model``. From there on
it takes the hot or the cold path as any request does. Bytes are carried one message at a time: a slow reader on one
side stops the reading on the other. Half-close, status, trailers, cancellation and deadline pass.

A stream may name several models, as with Triton: each has a *part*, a call of its own at the internal listener. While
a stream has named one model only, its part's status is the stream's. With several, a model that cannot be asked is
an error in the stream, and the others go on; a part that is silent is half-closed, so that its model may leave.

When the gateway stops, a stream in which nothing comes or goes is half-closed at its servers: what they still answer
comes, and then it ends with UNAVAILABLE, upon which clients ask elsewhere.

Answers come as Triton's do (ModelStreamInferResponse). MLServer answers with ModelInferResponse: that is wrapped. A
client whose metadata names the model (``seldon-model``) knows whose stream it is: it gets the answers as they are.

No message that is passed on is decoded here, and no model is activated here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import grpc

from overbook.gateway.oip.answers import Answers
from overbook.gateway.oip.errors import BadRequest, NoAnswer, TooLarge
from overbook.gateway.oip.hops import Metadata, check, forwarded, remaining
from overbook.gateway.oip.inflating import Inflating
from overbook.gateway.oip.methods import STREAM_METHOD, status_of
from overbook.gateway.oip.model_name import model_name, shown
from overbook.gateway.oip.opening import Opening
from overbook.gateway.oip.surface import MLSERVER
from overbook.gateway.snapshot.names import MODEL_HEADER, SELDON_HEADER
from overbook.wire.limits import MAX_FIELDS
from overbook.wire.protobuf import MalformedMessage, Walk

# Of a stream that names several models: a part without a message for so long is half-closed. So are all at a stop.
SILENT_SECONDS: Final = 1.0
# The fields of ModelStreamInferResponse, as tags: the text of an error, and an answer.
_ERROR, _ANSWER = b"\x0a", b"\x12"
# And of the answer: the id of its request. In the request the field has the same number.
_ID: Final = b"\x1a"
_ID_NUMBER: Final = 3

_Context = grpc.aio.ServicerContext[bytes, bytes]
_Call = grpc.aio.StreamStreamCall[bytes, bytes]
# In quotes: of older versions of grpcio the type takes no arguments when it is run.
_Open: TypeAlias = "grpc.aio.StreamStreamMultiCallable[bytes, bytes]"


@dataclass(frozen=True, slots=True)
class Ending:
    """How a stream ended, to be told to the client."""

    code: grpc.StatusCode
    details: str = ""
    trailers: Metadata = ()


_STOPPING: Final = Ending(
    grpc.StatusCode.UNAVAILABLE, "the gateway is stopping; open the stream again"
)


class StreamRelay:
    """The handler of ModelStreamInfer. ``upstream``: a channel to Envoy's internal listener.

    ``begin_seconds``: after which the answer to a stream begins in any case, see `Opening`.
    """

    def __init__(
        self,
        *,
        answers: Answers,
        upstream: grpc.aio.Channel,
        inflating: Inflating,
        first_message_seconds: float,
        begin_seconds: float,
    ) -> None:
        self._answers = answers
        self._inflating = inflating
        self._open: _Open = upstream.stream_stream(STREAM_METHOD)
        self._first_message_seconds = first_message_seconds
        self._begin_seconds = begin_seconds
        self._streams: set[_Stream] = set()
        # Streams without a message, and whether they are ended.
        self._mute: set[asyncio.Timeout] = set()
        self._stopping = False

    async def end_quiet(self) -> None:
        """Until cancelled: end all streams in which nothing goes on, with UNAVAILABLE."""
        self._stopping = True
        try:
            while True:
                for mute in self._mute:
                    if not mute.expired():
                        mute.reschedule(asyncio.get_running_loop().time())
                for stream in self._streams:
                    stream.end_quiet()
                await asyncio.sleep(SILENT_SECONDS / 2)
        finally:
            self._stopping = False

    def end_all(self, why: str) -> None:
        """With UNAVAILABLE, whatever goes on in them."""
        for stream in self._streams:
            stream.end(Ending(grpc.StatusCode.UNAVAILABLE, why))

    async def handle(self, _: object, context: _Context) -> None:
        """One stream from its first message to its status."""
        opening = Opening(context, self._begin_seconds)
        async with opening.in_time():
            ending = await self._relay(context, opening)
        if ending.code is grpc.StatusCode.OK:
            context.set_trailing_metadata(ending.trailers)
        else:
            await context.abort(ending.code, ending.details, ending.trailers)

    async def _relay(self, context: _Context, opening: Opening) -> Ending:
        try:
            async with asyncio.timeout(self._first_message_seconds) as mute:
                self._mute.add(mute)
                try:
                    first = await self._inflating.read(context)
                finally:
                    self._mute.discard(mute)
        except TooLarge as refusal:
            return Ending(status_of(refusal), str(refusal))
        except TimeoutError:
            if self._stopping:
                return _STOPPING
            return Ending(
                grpc.StatusCode.DEADLINE_EXCEEDED,
                f"no message within {self._first_message_seconds:g} s: nothing names the model",
            )
        if first is None:
            # Nothing was asked: a stream that a client opened ahead of time and did not need.
            return Ending(grpc.StatusCode.OK)
        stream = _Stream(context, opening, self._open, self._answers, self._inflating)
        self._streams.add(stream)
        try:
            return await stream.run(first)
        finally:
            self._streams.discard(stream)


@dataclass(slots=True, eq=False)
class _Part:
    """What a stream asks of one model. ``at``: when a message came or went last. ``asked``: the ids of its requests,
    until one was ``answered``. ``writing``: one is on its way to the server. ``closed``: nothing more is asked.
    """

    name: str
    call: _Call
    at: float
    asked: list[bytes] = field(default_factory=list)
    answered: bool = False
    writing: bool = False
    closed: bool = False
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def is_silent(self, now: float) -> bool:
        """Whether nothing comes or goes; what is being written cannot be half-closed."""
        return not self.writing and now - self.at > SILENT_SECONDS

    async def write(self, message: bytes) -> None:
        self.writing = True
        # A call that has ended is told of where its answers are read.
        with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError):
            await self.call.write(message)
        self.writing = False

    async def close(self) -> None:
        """Half-close it; what it still answers comes."""
        if not self.closed:
            self.closed = True
            with contextlib.suppress(grpc.RpcError, asyncio.InvalidStateError):
                await self.call.done_writing()


class _Stream:
    """One client's stream."""

    def __init__(
        self,
        context: _Context,
        opening: Opening,
        open_: _Open,
        answers: Answers,
        inflating: Inflating,
    ) -> None:
        self._context = context
        self._opening = opening
        self._open = open_
        self._answers = answers
        self._inflating = inflating
        self._metadata = forwarded(context.invocation_metadata())
        # Its answers are wanted as the server gives them, and it is of one model only.
        self._addressed = any(key == SELDON_HEADER for key, _ in self._metadata)
        loop = asyncio.get_running_loop()
        self._now = loop.time
        self._ended: asyncio.Future[Ending] = loop.create_future()
        self._parts: dict[str, _Part] = {}
        self._last = ""
        # Whether it named more than one model, or one that cannot be asked.
        self._several = False
        self._all_read = False
        # Whether nothing more is asked, as the gateway stops.
        self._stopped = False
        # Parts write to the one client in turn.
        self._writing = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, first: bytes) -> Ending:
        """Until it has ended for all its models."""
        self._spawn(self._up(first), "stream up")
        try:
            return await self._ended
        finally:
            tasks = list(self._tasks)
            for task in tasks:
                task.cancel()
            for part in self._parts.values():
                part.call.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def end_quiet(self) -> None:
        """Ask nothing more of its models, if nothing comes or goes; it ends when they have answered all."""
        now = self._now()
        if not all(part.is_silent(now) for part in self._parts.values()):
            return
        self._stopped = True
        for part in self._parts.values():
            self._spawn(part.close(), f"stream stop {part.name}")
        if not self._parts:
            self.end(_STOPPING)

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._ended.done():
            self._ended.set_exception(error)

    def end(self, ending: Ending) -> None:
        """Unless it has ended in another way."""
        if not self._ended.done():
            self._ended.set_result(ending)

    def _end_well(self, trailers: Metadata = ()) -> None:
        """All that was asked of models is answered. At a stop that may not be all that the client asked."""
        well = self._all_read or not self._stopped
        self.end(Ending(grpc.StatusCode.OK, trailers=trailers) if well else _STOPPING)

    async def _up(self, first: bytes) -> None:
        """Client to servers, to the half-close."""
        message: bytes | None = first
        while message is not None and not self._stopped:
            try:
                part = await self._part(message)
            except NoAnswer as refusal:
                self.end(Ending(status_of(refusal), str(refusal)))
                return
            if part is not None:
                part.at = self._now()
                if not part.answered:
                    part.asked.append(_id(message))
                await part.write(message)
            try:
                message = await self._inflating.read(self._context)
            except TooLarge as refusal:
                self.end(Ending(status_of(refusal), str(refusal)))
                return
        self._all_read = message is None
        for part in list(self._parts.values()):
            await part.close()
        if not self._parts:
            self._end_well()

    async def _part(self, message: bytes) -> _Part | None:
        """That of the model which the message names; without a name, the one before. None: the client was told why
        there is none. Raises NoAnswer where that ends the stream.
        """
        name = model_name(message) or self._last
        part = self._parts.get(name)
        if part is not None and not part.closed:
            # Tokens are revoked in the middle of streams.
            self._answers.still_granted(name)
            self._last = name
            return part
        if part is not None:
            # Its messages keep their order.
            await part.over.wait()
        if self._addressed and self._last and name != self._last:
            raise BadRequest(
                f"a message names model {shown(name)} in a stream of model {self._last}; "
                f"leave the header {SELDON_HEADER} out, or open one stream for each model"
            )
        if self._last and name != self._last:
            self._become_several()
        try:
            check(name, self._metadata, self._answers)
        except NoAnswer as refusal:
            if self._addressed:
                raise
            self._become_several()
            await self._tell(str(refusal), _id(message))
            return None
        self._last = name
        return self._begin(name)

    def _begin(self, name: str) -> _Part:
        metadata = (*self._metadata, *self._answers.marks(), (MODEL_HEADER, name))
        call = self._open(timeout=remaining(self._context), metadata=metadata)
        part = _Part(name, call, self._now())
        self._parts[name] = part
        self._spawn(self._down(part), f"stream down {name}")
        return part

    async def _down(self, part: _Part) -> None:
        """Server to client, until the server's status."""
        wraps = not self._addressed and self._answers.kind(part.name) == MLSERVER
        call = part.call
        failure: Ending | None = None
        try:
            # Of the first part that has any; the client gets such once.
            await self._opening.send(forwarded(await call.initial_metadata()))
            while isinstance(message := await call.read(), bytes):
                part.answered = True
                part.asked.clear()
                part.at = self._now()
                async with self._writing:
                    await self._context.write(_field(_ANSWER, message) if wraps else message)
            trailers = forwarded(await call.trailing_metadata())
        except grpc.aio.AioRpcError as error:
            trailers = forwarded(error.trailing_metadata())
            failure = Ending(error.code(), error.details() or "", trailers)
        del self._parts[part.name]
        part.over.set()
        if failure is not None:
            if part.answered or not self._several:
                # Which of its requests were answered is not known here: so it is said of the whole stream.
                self.end(failure)
                return
            for id_ in part.asked:
                await self._tell(failure.details, id_)
        if not self._several or ((self._all_read or self._stopped) and not self._parts):
            self._end_well(trailers)

    async def _tell(self, error: str, id_: bytes = b"") -> None:
        """An error of one request, as Triton says it: the stream goes on."""
        self._opening.passed()
        answer = _field(_ID, id_) if id_ else b""
        async with self._writing:
            await self._context.write(_field(_ERROR, error.encode()) + _field(_ANSWER, answer))

    def _become_several(self) -> None:
        if not self._several:
            self._several = True
            self._spawn(self._close_silent(), "stream parts")

    async def _close_silent(self) -> None:
        """What is open counts as a request in flight: a model that is not asked any more could not leave for another
        that this stream waits for.
        """
        while True:
            await asyncio.sleep(SILENT_SECONDS / 2)
            for part in list(self._parts.values()):
                if part.is_silent(self._now()):
                    await part.close()


def _id(message: bytes) -> bytes:
    """The id of a request, to be told when it is refused or fails; "" where it cannot be read."""
    id_ = b""
    try:
        for number, value in Walk(MAX_FIELDS).fields(memoryview(message)):
            if number == _ID_NUMBER and isinstance(value, memoryview):
                id_ = bytes(value)
        id_.decode()
    except (MalformedMessage, UnicodeDecodeError):
        return b""
    return id_


def _field(tag: bytes, content: bytes) -> bytes:
    """A field of a message that has a length."""
    length, size = b"", len(content)
    while size > 127:
        length += bytes((size & 127 | 128,))
        size >>= 7
    return b"%b%b%c%b" % (tag, length, size, content)
