"""`overbook serve`: one part as a process of its own, until SIGINT or SIGTERM; then it drains (see `stopping`)."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from functools import partial
from pathlib import Path

from overbook.agent.part import AgentConfig, AgentPart, view_name
from overbook.agent.servers.attached.connection import Attachment
from overbook.artifacts.secrets.environment import taken
from overbook.artifacts.secrets.known import SecretPlaces
from overbook.gateway.errors import GatewayStartFailed
from overbook.gateway.part import GatewayConfig, GatewayPart
from overbook.machine import core_dumps, descriptors, garbage, logs, metrics_page, private
from overbook.machine.access import asks_always
from overbook.machine.artifacts import opened
from overbook.machine.banner import agent_lines, gateway_lines, scheduler_lines
from overbook.machine.certificates import followed, peered
from overbook.machine.folders import ENVIRONMENTS, StateUnusable, owned, run_dir
from overbook.machine.limits import activator_limits, edge_limits
from overbook.machine.metrics_page import MetricsPageFailed
from overbook.machine.offers import attached_offer, installed_offer
from overbook.machine.options import (
    EnvironmentOptions,
    MetricsOptions,
    ServeAgentOptions,
    ServeGatewayOptions,
    ServeSchedulerOptions,
)
from overbook.machine.progress import StderrProgress
from overbook.machine.runtimes import RuntimeKeeper
from overbook.machine.scheduler import scheduler_config
from overbook.machine.stopping import Part, Stop, say_stopped
from overbook.runtimes.in_use import held
from overbook.runtimes.install import RuntimeInstallError, UnknownRuntime
from overbook.runtimes.own import Wish
from overbook.scheduler.errors import SchedulerError
from overbook.scheduler.part import SchedulerPart, default_settings
from overbook.tls.following import FollowedPair
from overbook.tls.pair import TlsUnusable
from overbook.wire.in_process import NotPrivate

_EXPECTED = (
    StateUnusable,
    SchedulerError,
    GatewayStartFailed,
    MetricsPageFailed,
    UnknownRuntime,
    RuntimeInstallError,
    TlsUnusable,
    NotPrivate,
    OSError,
)


def run_scheduler(options: ServeSchedulerOptions) -> int:
    async def part(closing: AsyncExitStack, tls: FollowedPair | None) -> Part:
        config = scheduler_config(
            options.state_dir,
            listen=options.listen,
            host=options.host,
            api_port=options.api_port,
            api=options.api,
            defaults=default_settings(),
            alone=True,
            asks_always=asks_always(options.host, insecure=options.insecure),
            tls=tls,
            peers=await closing.enter_async_context(peered(options.peers, listen=options.listen)),
        )
        return SchedulerPart(config)

    # Its metrics are on the control API's port.
    lines = partial(scheduler_lines, options)
    return _run("scheduler", part, options, MetricsOptions(), lines)


def run_agent(options: ServeAgentOptions) -> int:
    with ExitStack() as stack:
        return _run_agent(options, stack)


def _run_agent(options: ServeAgentOptions, stack: ExitStack) -> int:
    # Before the first child begins, which would have the variables.
    secrets = SecretPlaces(options.artifacts.secrets, taken(os.environ))

    async def part(closing: AsyncExitStack, tls: FollowedPair | None) -> Part:
        targets = {"listen": options.listen, "scheduler": options.scheduler}
        peers = await closing.enter_async_context(peered(options.peers, **targets))
        attachment, made = None, None
        if options.attach is None:
            keeper = RuntimeKeeper(options.state_dir / ENVIRONMENTS, StderrProgress())
            wish = _wish(options.environment)
            made = await keeper.ensure(options.runtime, options.capabilities, wish)
            stack.enter_context(held(made.root))
            offer = installed_offer(made, options.capabilities)
        else:
            offer = attached_offer(options.runtime, options.capabilities)
            given = options.attach
            attachment = Attachment(given.rest, given.grpc, given.repository)
        config = AgentConfig(
            state_dir=options.state_dir,
            server=options.server,
            replica=options.replica,
            runtime=options.runtime,
            memory=options.memory,
            overcommit=options.overcommit,
            capabilities=offer.capabilities,
            own_process=offer.own_process,
            environment=made,
            attachment=attachment,
            listen=options.listen,
            scheduler=options.scheduler,
            silence_limit=options.silence_limit,
            log_size=options.server_log_size,
            deny_pickle=options.artifacts.deny_pickle,
            peers=peers,
        )
        folder = options.state_dir / "agents" / view_name(options.server, options.replica)
        artifacts = await closing.enter_async_context(opened(folder, options.artifacts, secrets))
        return AgentPart(config, artifacts)

    name = f"agent-{options.server}-{options.replica}"
    lines = partial(agent_lines, options)
    return _run(name, part, options, options.metrics, lines)


def _wish(given: EnvironmentOptions | None) -> Wish | None:
    return None if given is None else Wish(given.packages, given.requirements, given.archive)


def run_gateway(options: ServeGatewayOptions) -> int:
    async def part(closing: AsyncExitStack, tls: FollowedPair | None) -> Part:
        config = GatewayConfig(
            state_dir=options.state_dir,
            run_dir=run_dir(options.state_dir),
            scheduler_target=options.scheduler,
            host=options.host,
            port=options.port,
            activation_timeout=options.activation_timeout,
            limits=activator_limits(options.limits),
            edge=edge_limits(options.limits),
            asks_always=asks_always(options.host, insecure=options.insecure),
            tls=tls,
            peers=await closing.enter_async_context(
                peered(options.peers, scheduler=options.scheduler)
            ),
        )
        return GatewayPart(config)

    lines = partial(gateway_lines, options)
    return _run("gateway", part, options, options.metrics, lines)


def _run(
    name: str,
    make: Callable[[AsyncExitStack, FollowedPair | None], Awaitable[Part]],
    options: ServeSchedulerOptions | ServeAgentOptions | ServeGatewayOptions,
    metrics: MetricsOptions,
    lines: Callable[[Path], list[str]],
) -> int:
    """The exit code; a failure is one line on stderr. Each part owns a folder of its own in the state folder.

    ``make``: is given what its clients are shown, and may have something closed when the part has ended. ``metrics``:
    of a page beside it. ``lines``: what is said once it serves, given the path of the log.
    """

    async def run(log: Path) -> None:
        async with (
            followed(options.tls) as tls,
            metrics_page.shown(metrics, tls),
            AsyncExitStack() as closing,
        ):
            await _until_signal(name, lambda: make(closing, tls), options.grace, lines(log))

    private.from_now_on()
    try:
        with owned(options.state_dir / "parts" / name):
            log = logs.configure(options.state_dir, name)
            private.mend(options.state_dir)
            garbage.settle()
            descriptors.raise_limit()
            core_dumps.switch_off()
            asyncio.run(run(log))
    except (*_EXPECTED, BaseExceptionGroup) as error:
        cause: BaseException = error
        while isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        if not isinstance(cause, _EXPECTED):
            raise
        print(f"Error: {cause}", file=sys.stderr)
        return 1
    say_stopped()
    return 0


async def _until_signal(
    name: str, make: Callable[[], Awaitable[Part]], grace: float, lines: list[str]
) -> None:
    stop = Stop(grace)
    with stop.on_signals():
        asked = asyncio.create_task(stop.asked.wait(), name="signal")
        making = asyncio.ensure_future(make())
        try:
            await asyncio.wait({making, asked}, return_when=asyncio.FIRST_COMPLETED)
            if not making.done():
                return
            part = making.result()
            running = asyncio.create_task(part.run(), name=name)
            said = asyncio.create_task(_say(part, lines), name="say that it serves")
            try:
                await asyncio.wait({running, asked}, return_when=asyncio.FIRST_COMPLETED)
                if not running.done():
                    await stop.let_leave(part, running)
            finally:
                said.cancel()
                running.cancel("it stops")
                await asyncio.wait({running, said})
            if not running.cancelled():
                running.result()
        finally:
            asked.cancel()
            making.cancel()
            await asyncio.wait({making})


async def _say(part: Part, lines: list[str]) -> None:
    """What runs and where, once it does."""
    await part.serving.wait()
    print("\n".join((*lines, "serving; stop with Ctrl-C")), flush=True)
