"""Runs an agent for every server replica the scheduler lists, and starts again the ones that fail.

On Kubernetes the operator does this job instead.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc.aio

from overbook.agent.part import AgentConfig, AgentPart
from overbook.agent.servers.attached.connection import Attachment
from overbook.machine.folders import socket_target
from overbook.machine.offers import Offer, attached_offer, installed_offer
from overbook.machine.options import SILENCE_LIMIT
from overbook.runtimes.install import RuntimeInstallError, UnknownRuntime, environment
from overbook.wire import scheduler_pb2 as pb
from overbook.wire import scheduler_pb2_grpc
from overbook.wire.in_process import connect

log = logging.getLogger(__name__)

_RESTART: Final = 2.0
_RECONNECT: Final = 0.5
# How often somebody looks whether a runtime was given another environment, and how long the next replica then
# goes on with the old one, so that not all are away at once.
_LOOK: Final = 2.0
_ONE_AFTER_ANOTHER: Final = 10.0


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What makes an agent another one. Memory changes while it runs; overcommit is the scheduler's business."""

    server: str
    replica: int
    runtime: str
    extra: tuple[str, ...]
    attachment: Attachment | None


class AgentSupervisor:
    """``ensure_runtime(runtime, claims)`` installs what is missing for that, and raises when it cannot.

    ``silence_limit``: see `AgentConfig`.
    """

    def __init__(
        self,
        *,
        state_dir: Path,
        run_dir: Path,
        scheduler: str,
        ensure_runtime: Callable[[str, Iterable[str]], Awaitable[None]],
        silence_limit: float = SILENCE_LIMIT,
    ) -> None:
        self._silence_limit = silence_limit
        self._state_dir = state_dir
        self._run_dir = run_dir
        self._scheduler = scheduler
        self._ensure_runtime = ensure_runtime
        self._running: dict[_Wanted, asyncio.Task[None]] = {}
        self._parts: dict[_Wanted, AgentPart] = {}
        self._specs: dict[str, pb.ServerSpec] = {}

    async def refuse(self, why: str) -> None:
        """The inference servers get no time to finish what they do when `run` ends."""
        for part in self._parts.values():
            await part.refuse(why)

    async def run(self) -> None:
        """Follow the scheduler's list of Servers until cancelled."""
        async with (
            asyncio.TaskGroup() as tasks,
            connect(self._scheduler) as channel,
        ):
            stub = scheduler_pb2_grpc.SchedulerServiceStub(channel)
            while True:
                try:
                    async for update in stub.WatchServers(pb.WatchServersRequest(machine="local")):
                        await self._follow(update, tasks)
                except grpc.aio.AioRpcError as error:
                    # The agents that run go on; only changes of the list wait.
                    log.debug("no scheduler for the list of servers: %s", error.details())
                await asyncio.sleep(_RECONNECT)

    async def _follow(self, update: pb.ServerListUpdate, tasks: asyncio.TaskGroup) -> None:
        self._specs = {server.name: server for server in update.servers}
        wanted = {
            _Wanted(
                server=server.name,
                replica=replica,
                runtime=server.runtime,
                extra=tuple(server.extra_capabilities),
                attachment=_attachment(server),
            )
            for server in update.servers
            for replica in range(server.replicas)
        }
        leaving = [(gone, self._running.pop(gone)) for gone in self._running.keys() - wanted]
        for gone, task in leaving:
            part = self._parts.pop(gone, None)
            if part is not None and not any(_same_server(gone, each) for each in wanted):
                part.retire()
            task.cancel("the server replica is no longer wanted")
        if leaving:
            # The same replica may come back with other settings: its files and ports must be free first.
            await asyncio.wait([task for _, task in leaving])
        for new in sorted(wanted - self._running.keys(), key=lambda w: (w.server, w.replica)):
            name = f"agent {new.server}/{new.replica}"
            self._running[new] = tasks.create_task(self._keep_running(new), name=name)

    def _config(self, wanted: _Wanted, offer: Offer, listen: str) -> AgentConfig:
        spec = self._specs[wanted.server]
        return AgentConfig(
            state_dir=self._state_dir,
            server=wanted.server,
            replica=wanted.replica,
            runtime=wanted.runtime,
            memory=spec.memory_bytes,
            overcommit=spec.overcommit_percent,
            capabilities=offer.capabilities,
            own_process=offer.own_process,
            attachment=wanted.attachment,
            listen=listen,
            scheduler=self._scheduler,
            silence_limit=self._silence_limit,
        )

    async def _run(self, wanted: _Wanted, name: str) -> bool:
        """Until the agent ends by itself, or (True) until its runtime has another environment."""
        if wanted.attachment is None:
            await self._ensure_runtime(wanted.runtime, wanted.extra)
            root = (await asyncio.to_thread(environment, wanted.runtime)).root
            offer = await asyncio.to_thread(installed_offer, wanted.runtime, wanted.extra)
            outdated = _outdated(wanted, root)
        else:
            offer = attached_offer(wanted.runtime, wanted.extra)
            outdated = _never()
        part = AgentPart(self._config(wanted, offer, socket_target(self._run_dir, name)))
        self._parts[wanted] = part
        return await _runs_until(part.run(), outdated)

    async def _keep_running(self, wanted: _Wanted) -> None:
        name = f"{wanted.server}-{wanted.replica}"
        while True:
            try:
                if await self._run(wanted, name):
                    log.info("agent %s: its runtime was installed anew; starting it again", name)
                    continue
            except (UnknownRuntime, RuntimeInstallError) as error:
                log.error("server %s: %s", wanted.server, error)
            except Exception:
                # One replica's fault must not end the others; its models are cold until it is back.
                log.exception("agent %s failed; starting it again in %.0f s", name, _RESTART)
            await asyncio.sleep(_RESTART)


def _same_server(one: _Wanted, other: _Wanted) -> bool:
    """Whether both use the same inference server, if with other settings."""
    return (one.server, one.replica, one.attachment) == (
        other.server,
        other.replica,
        other.attachment,
    )


def _attachment(server: pb.ServerSpec) -> Attachment | None:
    if not server.HasField("attachment"):
        return None
    given = server.attachment
    return Attachment(
        rest=given.rest,
        grpc=given.grpc,
        repository=Path(given.repository_path),
        server_path=given.server_path,
    )


async def _never() -> None:
    await asyncio.get_running_loop().create_future()


async def _outdated(wanted: _Wanted, root: Path) -> None:
    """Until the runtime has another environment than ``root``, and it is this replica's turn."""
    while True:
        await asyncio.sleep(_LOOK)
        try:
            now = (await asyncio.to_thread(environment, wanted.runtime)).root
        except RuntimeInstallError:
            continue  # removed while it runs: nothing better is there
        if now != root:
            await asyncio.sleep(_ONE_AFTER_ANOTHER * wanted.replica)
            return


async def _runs_until(
    work: Coroutine[object, object, None], end: Coroutine[object, object, None]
) -> bool:
    """Runs ``work`` to its end, or until ``end`` returns: then it is cancelled, and the answer is True."""
    working, ending = asyncio.ensure_future(work), asyncio.ensure_future(end)
    try:
        await asyncio.wait((working, ending), return_when=asyncio.FIRST_COMPLETED)
    finally:
        over = working.done()
        working.cancel()
        ending.cancel()
        await asyncio.wait((working, ending))
    for each in (working, ending):
        if not each.cancelled():
            each.result()
    return not over
