"""`overbook serve`: one part as a process of its own, until SIGINT or SIGTERM."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path

from overbook.agent.part import AgentConfig, AgentPart
from overbook.agent.servers.attached import Attachment
from overbook.gateway.errors import GatewayStartFailed
from overbook.gateway.part import GatewayConfig, GatewayPart
from overbook.machine import descriptors, garbage, logs
from overbook.machine.offers import attached_offer, installed_offer
from overbook.machine.options import (
    ServeAgentOptions,
    ServeGatewayOptions,
    ServeSchedulerOptions,
)
from overbook.machine.places import StateUnusable, owned, run_dir
from overbook.machine.progress import StderrProgress
from overbook.machine.runtimes import RuntimeKeeper
from overbook.machine.scheduler import run_scheduler as run_scheduler_part
from overbook.machine.scheduler import scheduler_config
from overbook.runtimes.install import RuntimeInstallError, UnknownRuntime
from overbook.scheduler.errors import SchedulerError
from overbook.scheduler.part import default_settings

_EXPECTED = (
    StateUnusable,
    SchedulerError,
    GatewayStartFailed,
    UnknownRuntime,
    RuntimeInstallError,
    OSError,
)


def run_scheduler(options: ServeSchedulerOptions) -> int:
    async def part() -> None:
        config = scheduler_config(
            options.state_dir,
            listen=options.listen,
            host=options.host,
            api_port=options.api_port,
            defaults=default_settings(),
        )
        await run_scheduler_part(config, serving=asyncio.Event(), missing=lambda: None)

    return _run("scheduler", options.state_dir, part)


def run_agent(options: ServeAgentOptions) -> int:
    async def part() -> None:
        attachment = None
        if options.attach is None:
            await RuntimeKeeper(StderrProgress()).ensure(options.runtime, options.capabilities)
            offer = installed_offer(options.runtime, options.capabilities)
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
            attachment=attachment,
            listen=options.listen,
            scheduler=options.scheduler,
            silence_limit=options.silence_limit,
        )
        await AgentPart(config).run()

    return _run(f"agent-{options.server}-{options.replica}", options.state_dir, part)


def run_gateway(options: ServeGatewayOptions) -> int:
    async def part() -> None:
        config = GatewayConfig(
            state_dir=options.state_dir,
            run_dir=run_dir(options.state_dir),
            scheduler_target=options.scheduler,
            host=options.host,
            port=options.port,
            activation_timeout=options.activation_timeout,
        )
        await GatewayPart(config).run()

    return _run("gateway", options.state_dir, part)


def _run(name: str, state_dir: Path, part: Callable[[], Coroutine[object, object, None]]) -> int:
    """The exit code; a failure is one line on stderr. Each part owns a folder of its own in the state folder."""
    try:
        with owned(state_dir / "parts" / name):
            logs.configure(state_dir, name)
            garbage.settle()
            descriptors.raise_limit()
            asyncio.run(_until_signal(part))
    except (*_EXPECTED, BaseExceptionGroup) as error:
        cause: BaseException = error
        while isinstance(cause, BaseExceptionGroup):
            cause = cause.exceptions[0]
        if not isinstance(cause, _EXPECTED):
            raise
        print(f"Error: {cause}", file=sys.stderr)
        return 1
    return 0


async def _until_signal(part: Callable[[], Coroutine[object, object, None]]) -> None:
    loop = asyncio.get_running_loop()
    running = loop.create_task(part(), name="part")
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, running.cancel, "signal")
    try:
        await running
    except asyncio.CancelledError:
        if not running.cancelled():
            raise
