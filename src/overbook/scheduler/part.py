"""Puts the scheduler together and runs it: store, actor, gRPC service and control API. The only entry for `machine`."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import uvicorn

from overbook.access.minting import mint
from overbook.artifacts.survey import Survey
from overbook.manifests.problems import shown
from overbook.placement import Provider
from overbook.scheduler.actor import Actor
from overbook.scheduler.api import ReadyCheck, create_app
from overbook.scheduler.audit.audited import Audited
from overbook.scheduler.audit.log import AuditLog
from overbook.scheduler.authentication import Authentication
from overbook.scheduler.calls import Calls
from overbook.scheduler.errors import Invalid, NoToken, PortInUse, SchedulerError
from overbook.scheduler.events import EventRing
from overbook.scheduler.known_tokens import KnownTokens
from overbook.scheduler.manifests_in import Defaults
from overbook.scheduler.records import ArtifactAddress
from overbook.scheduler.service import SchedulerService
from overbook.scheduler.store import Store
from overbook.scheduler.surveyor import Surveyor
from overbook.scheduler.token_key import TokenKey
from overbook.scheduler.vault import Vault
from overbook.scheduler.web.connections import bounded
from overbook.scheduler.web.encrypted import encrypted
from overbook.scheduler.web.guarded import Guards, guarded
from overbook.scheduler.web.hosts import known_hosts
from overbook.scheduler.web.limits import Limits
from overbook.tls.contexts import OwnClient, ServerContext
from overbook.tls.following import FollowedPair
from overbook.wire import scheduler_pb2_grpc
from overbook.wire.in_process import ListenFailed, serving
from overbook.wire.peers import Peers

OVERCOMMIT_VARIABLE: Final = "SELDON_OVERCOMMIT_PERCENTAGE"
DEFAULT_OVERCOMMIT: Final = 10
_NO_TOKEN: Final = (
    "no token: whoever can reach this address would have to show one, and there is none that could make others. Start "
    "on loopback, run `overbook token create NAME --role admin`, and start again; or say --insecure, for a network "
    "in which everybody may do everything"
)
_STOP_GRACE: Final = 0.2
STOP_SECONDS: Final = 3.0
_BACKLOG: Final = 1024
# Before any of them is counted, see `web.connections`.
_ACCEPTED_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class SchedulerConfig:
    """``state_dir``: the scheduler's own folder. ``listen``: gRPC target, "unix:/path" or "host:port".

    Port 0 takes a free one. ``defaults``: for Servers that do not say, see `default_settings`.
    ``providers``: who could offer what models may require, for the advice in verdicts. ``look``: sees the files of the
    machine on which the scheduler and all agents run; None where agents may be elsewhere. ``asks_always``: for a token,
    also before there is one. ``allowed_hosts``: what the control API may be called besides the names that are known
    anyway, ``cors_origins``: whose web pages may use it. ``limits``: how much it takes. ``tls``: what its clients are
    shown, None for plain HTTP; who made it keeps it followed. ``peers``: how it and other parts know each other at
    ports.
    """

    state_dir: Path
    listen: str
    api_host: str = "127.0.0.1"
    api_port: int = 9001
    defaults: Defaults = field(default_factory=Defaults)
    providers: tuple[Provider, ...] = ()
    look: Callable[[ArtifactAddress], Survey | str] | None = None
    allowed_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    asks_always: bool = False
    tls: FollowedPair | None = None
    peers: Peers | None = None


def default_settings(
    environ: Mapping[str, str] | None = None,
    *,
    memory: int | None = None,
    overcommit: int | None = None,
    machine: int | None = None,
) -> Defaults:
    """What Servers get that do not say: as given, else from the environment, else 10 %.

    Raises Invalid when the variable is no whole number of percent.
    """
    if overcommit is None:
        text = (os.environ if environ is None else environ).get(OVERCOMMIT_VARIABLE, "").strip()
        if text and not (text.isascii() and text.isdigit()):
            raise Invalid(
                f"{OVERCOMMIT_VARIABLE}: {shown(text)} is not a percentage; "
                "expected a whole number such as 10"
            )
        overcommit = int(text) if text else DEFAULT_OVERCOMMIT
    return Defaults(memory, overcommit, machine)


class SchedulerPart:
    """A scheduler. `run` until cancelled; ``serving`` is set once the API answers.

    ``missing`` answers `/readyz`: None when ready, else what is not, in one line. Once it serves, ``grpc_target`` is
    what to connect to, and ``api_url`` where the control API is, of which ``own_token`` and `own_context` let this
    program ask.
    """

    def __init__(self, config: SchedulerConfig, missing: ReadyCheck = lambda: None) -> None:
        self._config = config
        self._missing = missing
        self._calls: Calls | None = None
        self.serving = asyncio.Event()
        self.grpc_target = self.api_url = ""
        self.own_token: Final = mint()
        self._own_client = None if config.tls is None else OwnClient(time.time())

    def own_context(self) -> ssl.SSLContext | None:
        """For a connection of this program to the control API that begins now."""
        if self._own_client is None or self._config.tls is None:
            return None
        return self._own_client.context(self._config.tls.current)

    @property
    def running(self) -> int:
        """Calls of the control API that are not answered yet."""
        return 0 if self._calls is None else self._calls.running

    def leave(self) -> None:
        """`/readyz` says no from now on; everything is served as before."""
        self._missing = lambda: "it is stopping"

    async def drain(self) -> None:
        """Return when no call of the control API runs any more; those that only wait for events are answered now."""
        if self._calls is not None:
            await self._calls.drain()

    async def refuse(self, why: str) -> None:
        """Calls that still run are ended by the end of `run`: its server answers 500, or hangs up."""

    async def run(self) -> None:
        """Until cancelled. Raises PortInUse or StoreError before it serves."""
        config = self._config
        store = await asyncio.to_thread(Store, config.state_dir / "state.db")
        vault = Vault(config.state_dir / "secrets.key")
        key = TokenKey(config.state_dir / "tokens.key")
        tokens = KnownTokens(key, self.own_token, time.time, always=config.asks_always)
        events = EventRing(config.limits.waiting)
        actor = Actor(store, vault, tokens, config.defaults, time.time, config.providers, events)
        audit = AuditLog(config.state_dir / "audit", actor.tell_trouble)
        try:
            await actor.load()
            if not tokens.manageable:
                raise NoToken(_NO_TOKEN)
            with _bind(config.api_host, config.api_port) as api_socket:
                host, port = api_socket.getsockname()[:2]
                scheme = "http" if config.tls is None else "https"
                self.api_url = (
                    f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
                )
                surveyor = Surveyor(actor, config.look)
                app = create_app(actor, surveyor, lambda: self._missing(), audit)
                asking = partial(Authentication, actor=actor)
                audited = Audited(guarded(app, _guards(config), asking), audit, time.time)

                def stop_waiting() -> None:
                    actor.stop_waiting()
                    audit.stop_waiting()

                calls = Calls(audited, stop_waiting)
                # The inner one ends first: sessions must end while the actor still listens.
                async with (
                    audit.running(),
                    _running(
                        actor,
                        surveyor,
                        _ApiServer(calls, config.limits, self._context()),
                        api_socket,
                    ),
                    _serving_agents(actor, config.listen, config.peers) as self.grpc_target,
                ):
                    self._calls = calls
                    self.serving.set()
                    await asyncio.get_running_loop().create_future()
        finally:
            self._calls = None
            self.serving.clear()
            await actor.close()

    def _context(self) -> ssl.SSLContext | None:
        """What the control API listens with."""
        followed, own = self._config.tls, self._own_client
        if followed is None or own is None:
            return None
        serving = ServerContext(followed.current, own.authority)
        followed.on_change(serving.use)
        return serving.context


def _guards(config: SchedulerConfig) -> Guards:
    followed = config.tls

    def certified() -> tuple[str, ...]:
        """What a certificate says is no name that a stranger could have lead here."""
        return () if followed is None else followed.current.names

    hosts = known_hosts(config.api_host, socket.gethostname(), config.allowed_hosts, certified)
    return Guards(hosts, config.cors_origins, config.limits)


@contextlib.asynccontextmanager
async def running_scheduler(
    config: SchedulerConfig, missing: ReadyCheck = lambda: None
) -> AsyncIterator[SchedulerPart]:
    """A scheduler that serves for as long as the block runs. Raises what `SchedulerPart.run` raises."""
    part = SchedulerPart(config, missing)
    running = asyncio.create_task(part.run(), name="scheduler")
    serving = asyncio.create_task(part.serving.wait(), name="scheduler serving")
    try:
        await asyncio.wait({running, serving}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
        yield part
    finally:
        serving.cancel()
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running


@contextlib.asynccontextmanager
async def _running(
    actor: Actor, surveyor: Surveyor, server: _ApiServer, api_socket: socket.socket
) -> AsyncIterator[None]:
    """The actor and the control API run; what the block raises comes out as it is."""
    failure: Exception | None = None
    async with asyncio.TaskGroup() as group:
        work = group.create_task(actor.run(), name="scheduler-actor")
        looks = group.create_task(surveyor.run(), name="scheduler-surveyor")
        api = group.create_task(server.serve(sockets=[api_socket]), name="scheduler-api")
        try:
            await server.up.wait()
            yield
        except Exception as error:
            failure = error
        finally:
            server.should_exit = True
            await asyncio.wait((api,), timeout=STOP_SECONDS)
            api.cancel()
            looks.cancel()
            work.cancel()
    if failure is not None:
        raise failure


class _ApiServer(uvicorn.Server):
    """Uvicorn as a task among others: signals are the composition root's business."""

    def __init__(self, app: Calls, limits: Limits, context: ssl.SSLContext | None) -> None:
        http = bounded(limits)
        super().__init__(
            uvicorn.Config(
                app,
                http=http if context is None else encrypted(http, context, limits),
                backlog=_ACCEPTED_AT_ONCE,
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                server_header=False,
                # Who connects from this machine could say that it is another, and the audit log would have that.
                proxy_headers=False,
                ws="none",
                timeout_graceful_shutdown=1,
            )
        )
        self.up: Final = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        for each in sockets or ():
            # Asyncio takes the one number for how many it accepts at a time and for how many may wait for that.
            each.listen(_BACKLOG)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def _serving_agents(actor: Actor, listen: str, peers: Peers | None) -> AsyncIterator[str]:
    """The gRPC service runs; its target with the real port."""
    service = SchedulerService(actor)
    register = partial(scheduler_pb2_grpc.add_SchedulerServiceServicer_to_server, service)
    try:
        async with serving(listen, register, grace=_STOP_GRACE, peers=peers) as target:
            yield target
    except ListenFailed as error:
        raise PortInUse(
            f"scheduler address {listen}: cannot listen there; stop what uses it or choose another"
        ) from error


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol spelled out asyncio switches Nagle's delay off; without, every answer takes 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise PortInUse(
                f"API port {port}: is in use on {host}; stop what uses it or choose another "
                "with --api-port"
            ) from error
        raise SchedulerError(
            f"API address {host}:{port}: cannot listen there ({error.strerror}); "
            "expected an address of this machine"
        ) from error
    return listener
