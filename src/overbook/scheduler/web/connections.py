"""How long a connection to the control API may do nothing, and how many there may be: uvicorn's protocol, bounded.

Each connection is a file descriptor of a process that also has agents, whose servers end with them when there is none
left. Uvicorn bounds neither how many it accepts nor how long the head of a request or the reading of an answer takes.
"""

from __future__ import annotations

import asyncio
from typing import Final, cast

from uvicorn.protocols.http.h11_impl import H11Protocol

from overbook.scheduler.answers import encoded
from overbook.scheduler.bodies import ErrorAnswer
from overbook.scheduler.web.headers import HEADERS
from overbook.scheduler.web.limits import Limits

# So many that are refused are told why; those beyond are cut at once.
TOLD: Final = 16
# Seconds in which one that is refused may read so.
_FAREWELL: Final = 1.0


def bounded(limits: Limits) -> type[H11Protocol]:
    """The protocol of each connection of one server, which keeps to ``limits`` for all of them."""

    refused: set[_Connection] = set()

    class Bounded(_Connection):
        most = limits.connections
        idle_seconds = limits.idle_seconds
        leaving = refused

    return Bounded


class _Connection(H11Protocol):
    most: int
    idle_seconds: float
    # Those that were refused and are not closed yet.
    leaving: set[_Connection]

    _heard = False
    _timer: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # What asyncio calls a transport may be of one direction; of a server's connection it never is.
        transport = cast("asyncio.Transport", transport)
        super().connection_made(transport)
        if len(self.connections) <= self.most:
            self._await_request()
            return
        self.connections.discard(self)
        if len(self.leaving) >= TOLD:
            transport.abort()
            return
        self.leaving.add(self)
        why = f"{self.most} connections are open already; try again when others have ended"
        self._tell(429, b"Too Many Requests", why)
        self._timer = self.loop.call_later(_FAREWELL, transport.abort)

    def data_received(self, data: bytes) -> None:
        if self in self.leaving:
            return
        self._heard = True
        super().data_received(data)
        self._await_request()

    def on_response_complete(self) -> None:
        self._heard = False
        super().on_response_complete()
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.leaving.discard(self)
        for each in (self._timer, self._stall):
            if each is not None:
                each.cancel()

    def send_400_response(self, msg: str) -> None:
        self._tell(400, b"Bad Request", f"{msg.rstrip('.')}; expected HTTP/1.1")
        self.transport.close()

    def pause_writing(self) -> None:
        """The client reads more slowly than it is answered."""
        super().pause_writing()
        self._stall = self.loop.call_later(self.idle_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _await_request(self) -> None:
        """Until there is one, time runs, however little of it comes in between."""
        busy = self.cycle is not None and not self.cycle.response_complete
        if busy and self._timer is not None:
            self._timer.cancel()
            self._timer = None
        elif not busy and self._timer is None:
            self._timer = self.loop.call_later(self.idle_seconds, self._give_up)

    def _give_up(self) -> None:
        if self._heard:
            self._tell(
                408, b"Request Timeout", f"no request came within {self.idle_seconds:g} s; send it"
            )
        self.transport.close()

    def _tell(self, status: int, reason: bytes, why: str) -> None:
        """A refusal before there is a request, and the last word on this connection."""
        answer: ErrorAnswer = {"error": why}
        body = encoded(answer)
        headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
        headers += [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        if status == 429:
            headers.append((b"retry-after", b"1"))
        lines = [b"HTTP/1.1 %d %s" % (status, reason), *(b": ".join(each) for each in headers)]
        self.transport.write(b"\r\n".join([*lines, b"", body]))
