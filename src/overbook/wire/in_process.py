"""Calls between parts that live in the same process (`overbook up`): gRPC's interface without gRPC's way.

A model that comes back needs several calls and messages between parts, each of which costs processor time in gRPC on
both sides. So a part offers its services here as well as on its socket, and `connect` takes the short way when the
target is offered in this process, else gRPC's. Messages are handed over as they are: nobody may change one that it has
sent or received. Only what the parts use of gRPC's interface is here; no service lives here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Sequence
from typing import Any, Final, NoReturn, TypeAlias, cast

import grpc
import grpc.aio

from overbook.tls.authority import make_authority
from overbook.tls.pair import Pair
from overbook.wire.channel import CHANNEL_OPTIONS, SERVER_OPTIONS
from overbook.wire.peers import Peers
from overbook.wire.targets import is_near, is_unix

_log = logging.getLogger(__name__)

# What one side may be ahead of the other in a stream, in messages. Then it waits, as gRPC's flow control has it.
_AHEAD: Final = 64

# After so long a connection without calls is ended: where certificates are renewed, some are left over.
_RENEWED: Final = (("grpc.max_connection_idle_ms", 600_000),)

# Messages are of the generated modules, which say which: here they are anything.
Message: TypeAlias = Any
_Handler: TypeAlias = Callable[[Message, "_Context"], Coroutine[object, object, Message]]


class Services:
    """The services of one target. Has what the generated ``add_…_to_server`` functions need of a server."""

    def __init__(self) -> None:
        self.handlers: Final[dict[str, _Handler]] = {}
        self.streams: Final[set[_Stream]] = set()

    def add_registered_method_handlers(
        self, service: str, handlers: dict[str, grpc.RpcMethodHandler[Message, Message]]
    ) -> None:
        for name, handler in handlers.items():
            behaviour = handler.unary_unary or handler.unary_stream or handler.stream_stream
            self.handlers[f"/{service}/{name}"] = cast(_Handler, behaviour)

    def add_generic_rpc_handlers(self, handlers: Sequence[object]) -> None:
        """The same handlers in another form."""


_offers: Final[dict[str, Services]] = {}


class NotPrivate(Exception):
    """Others than this machine could connect there, and there is no certificate by which parts know each other."""


def check_private(target: str, peers: Peers | None, *, option: str = "gRPC") -> None:
    """Raises NotPrivate. ``option``: where the target was given."""
    if peers is None and not is_near(target):
        raise NotPrivate(
            f"{option} {target}: others than this machine's users can reach it, and whoever does could pass for a part "
            "of this Overbook, which hears keys and secrets; give this part a certificate (--peer-cert, --peer-key and "
            "--peer-ca: `overbook tls init` makes peer.pem, peer.key and peer-ca.pem), or use loopback, or unix:PATH"
        )


class ListenFailed(Exception):
    """The address cannot be listened on: it is in use, or not one of this machine."""


@contextlib.asynccontextmanager
async def serving(
    listen: str, register: Callable[[Any], None], *, grace: float, peers: Peers | None
) -> AsyncIterator[str]:
    """A part's services, over gRPC and nearby. Yields the target, with its real port.

    ``register``: the generated function, with the service. ``grace``: seconds that calls have to end at the stop.
    ``peers``: whom it answers at a port, and by which certificate; None: whoever is on this machine. Raises
    ListenFailed and NotPrivate before it begins.
    """
    check_private(listen, peers)
    options = SERVER_OPTIONS if peers is None else (*SERVER_OPTIONS, *_RENEWED)
    server, offer = grpc.aio.server(options=options), Services()
    register(server)
    register(offer)
    try:
        if peers is None or is_unix(listen):
            port = server.add_insecure_port(listen)
        else:
            port = server.add_secure_port(listen, peers.server_credentials())
    except RuntimeError as error:
        raise ListenFailed(listen) from error
    await server.start()
    target = listen if listen.startswith("unix:") else f"{listen.rpartition(':')[0]}:{port}"
    try:
        with _offered(target, offer):
            yield target
    finally:
        await server.stop(grace)


@contextlib.contextmanager
def _offered(target: str, offer: Services) -> Iterator[None]:
    """Reachable in this process as long as the block runs; then its streams end as those of a server that stops."""
    _offers[target] = offer
    try:
        yield
    finally:
        # Another agent may have taken the address over already.
        if _offers.get(target) is offer:
            del _offers[target]
        for stream in tuple(offer.streams):
            stream.lose()


def connect(target: str, peers: Peers | None) -> grpc.aio.Channel:
    """A channel for the generated stubs, which calls nearby when the target is offered in this process.

    ``peers``: how parts know each other at a port. Without them nothing is sent to where others could listen.
    """
    return cast(grpc.aio.Channel, _Channel(target, peers))


class _Channel:
    """Each call goes where the target is when it begins. gRPC's channel is opened when it is needed.

    A call that runs stays with the certificate with which it began; calls from then on take the new one.
    """

    def __init__(self, target: str, peers: Peers | None) -> None:
        self._target = target
        self._peers = None if is_unix(target) else peers
        self._remote: grpc.aio.Channel | None = None
        # Their calls go on. Once there are none, the other side ends the connection, and little is left of them.
        self._former: list[grpc.aio.Channel] = []
        self._shown: Pair | None = None

    async def __aenter__(self) -> _Channel:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        for each in (*self._former, self._remote):
            if each is not None:
                await each.close()

    def unary_unary(self, method: str, **codec: Any) -> Callable[..., Awaitable[Message]]:
        def call(request: Message, timeout: float | None = None) -> Awaitable[Message]:
            offer = _offers.get(self._target)
            if offer is None:
                return self._grpc().unary_unary(method, **codec)(request, timeout=timeout)
            return _answer(offer.handlers[method], request, timeout)

        return call

    def unary_stream(self, method: str, **codec: Any) -> Callable[..., Message]:
        def call(request: Message) -> Message:
            offer = _offers.get(self._target)
            if offer is None:
                return self._grpc().unary_stream(method, **codec)(request)
            return _Stream(offer, offer.handlers[method], request=request)

        return call

    def stream_stream(self, method: str, **codec: Any) -> Callable[..., Message]:
        def call(requests: AsyncIterator[Message] | None = None) -> Message:
            offer = _offers.get(self._target)
            if offer is None:
                return self._grpc().stream_stream(method, **codec)(requests)
            return _Stream(offer, offer.handlers[method], requests=requests)

        return call

    def _grpc(self) -> grpc.aio.Channel:
        if self._peers is not None and self._shown is not self._peers.current:
            if self._remote is not None:
                self._former.append(self._remote)
            self._shown = self._peers.current
            self._remote = self._peers.channel(self._target, CHANNEL_OPTIONS)
        if self._remote is None:
            self._remote = self._plain()
        return self._remote

    def _plain(self) -> grpc.aio.Channel:
        try:
            check_private(self._target, None)
        except NotPrivate as error:
            # Nobody there can show that it is a part: all calls fail, as with a server that is not there.
            _log.warning("%s", error)
            nobody = make_authority("nobody", time.time()).certificate
            trusting = grpc.ssl_channel_credentials(nobody)
            return grpc.aio.secure_channel(self._target, trusting, options=CHANNEL_OPTIONS)
        return grpc.aio.insecure_channel(self._target, options=CHANNEL_OPTIONS)


class _Aborted(grpc.aio.AbortError):
    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(details)
        self.code = code
        self.details = details


class _Pipe:
    """One direction of a stream. It is closed once, and what was written before can still be read."""

    def __init__(self) -> None:
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._room = asyncio.Semaphore(_AHEAD)
        self._closed = False

    async def read(self) -> Message:
        """The next message; gRPC's end of file after the last."""
        message = await self._messages.get()
        if message is grpc.aio.EOF:
            self._messages.put_nowait(message)
        else:
            self._room.release()
        return message

    async def write(self, message: Message) -> bool:
        """Waits while the reader is too far behind. False: it is closed."""
        await self._room.acquire()
        if self._closed:
            self._room.release()  # for the next who waits
            return False
        self._messages.put_nowait(message)
        return True

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._messages.put_nowait(grpc.aio.EOF)
            self._room.release()


class _Context:
    """What a handler sees of its call. Only streams read and write."""

    def __init__(self) -> None:
        self.incoming: Final = _Pipe()
        self.outgoing: Final = _Pipe()

    async def read(self) -> Message:
        """The next message; gRPC's end of file when the other side has no more."""
        return await self.incoming.read()

    async def write(self, message: Message) -> None:
        await self.outgoing.write(message)

    async def abort(self, code: grpc.StatusCode, details: str = "") -> NoReturn:
        raise _Aborted(code, details)


async def _answer(handler: _Handler, request: Message, timeout: float | None) -> Message:
    """One answer, in the task of whoever asks: it is cancelled with it. Raises AioRpcError as gRPC does."""
    late = asyncio.timeout(timeout)
    try:
        async with late:
            return await handler(request, _Context())
    except Exception as error:
        if late.expired() and isinstance(error, TimeoutError):
            raise _failed(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded") from None
        raise _told(error) from error


class _Stream:
    """One stream, as whoever called it sees it."""

    def __init__(
        self,
        offer: Services,
        handler: _Handler,
        *,
        request: Message = None,
        requests: AsyncIterator[Message] | None = None,
    ) -> None:
        self._offer = offer
        self._context = _Context()
        self._error: grpc.aio.AioRpcError | None = None
        self._over = False
        offer.streams.add(self)
        self._handling = asyncio.create_task(self._handle(handler, request), name="nearby stream")
        self._sending: asyncio.Task[None] | None = None
        if requests is not None:
            self._sending = asyncio.create_task(self._send(requests), name="nearby requests")

    def lose(self) -> None:
        """The part that serves it goes away."""
        self._end(_failed(grpc.StatusCode.UNAVAILABLE, "it stops"))

    def cancel(self) -> bool:
        """Whoever called it wants no more of it."""
        return self._end(_failed(grpc.StatusCode.CANCELLED, "cancelled"))

    async def read(self) -> Message:
        """The next message, gRPC's end of file after the last. Raises AioRpcError when the stream broke."""
        message = await self._context.outgoing.read()
        if message is grpc.aio.EOF and self._error is not None:
            raise self._error
        return message

    async def write(self, message: Message) -> None:
        """Raises AioRpcError, or asyncio's InvalidStateError once the stream has ended in good order."""
        if not await self._context.incoming.write(message):
            raise self._error or asyncio.InvalidStateError("the stream has ended")

    async def __aiter__(self) -> AsyncIterator[Message]:
        while (message := await self.read()) is not grpc.aio.EOF:
            yield message

    async def _handle(self, handler: _Handler, request: Message) -> None:
        error: grpc.aio.AioRpcError | None = None
        try:
            await handler(request, self._context)
        except asyncio.CancelledError:
            # Our own `_end`, or the end of the loop.
            error = _failed(grpc.StatusCode.CANCELLED, "cancelled")
        except Exception as raised:
            error = _told(raised)
        self._end(error)

    async def _send(self, requests: AsyncIterator[Message]) -> None:
        async for message in requests:
            await self._context.incoming.write(message)
        self._context.incoming.close()

    def _end(self, error: grpc.aio.AioRpcError | None) -> bool:
        if self._over:
            return False
        self._error = error
        self._over = True
        self._context.incoming.close()
        self._context.outgoing.close()
        self._offer.streams.discard(self)
        for task in (self._handling, self._sending):
            if task is not None and not task.done() and task is not asyncio.current_task():
                task.cancel()
        return True


def _told(error: Exception) -> grpc.aio.AioRpcError:
    if isinstance(error, _Aborted):
        return _failed(error.code, error.details)
    _log.error("a call failed", exc_info=error)
    return _failed(grpc.StatusCode.UNKNOWN, f"Unexpected {type(error)}: {error}")


def _failed(code: grpc.StatusCode, details: str) -> grpc.aio.AioRpcError:
    nothing = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(code, nothing, nothing, details=details)
