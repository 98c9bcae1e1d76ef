"""`overbook serve`: one part as a process of its own, until SIGINT or SIGTERM."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine
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
from overbook.machine.stopping import Stop, waiting_words
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


# Called when the part is asked to stop; the part is cancelled when it returns.
_Drain = Callable[[], Awaitable[object]]


def run_scheduler(options: ServeSchedulerOptions) -> int:
    async def part(_: Callable[[_Drain], None]) -> None:
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
    async def part(on_stop: Callable[[_Drain], None]) -> None:
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
        )
        agent = AgentPart(config)
        on_stop(lambda: agent.drain(options.grace))
        await agent.run()

    return _run(f"agent-{options.server}-{options.replica}", options.state_dir, part)


def run_gateway(options: ServeGatewayOptions) -> int:
    async def part(on_stop: Callable[[_Drain], None]) -> None:
        config = GatewayConfig(
            state_dir=options.state_dir,
            run_dir=run_dir(options.state_dir),
            scheduler_target=options.scheduler,
            host=options.host,
            port=options.port,
            activation_timeout=options.activation_timeout,
        )
        gateway = GatewayPart(config)
        on_stop(lambda: gateway.drain(options.grace, waiting_words(options.grace)))
        await gateway.run()

    return _run("gateway", options.state_dir, part)


_Part = Callable[[Callable[[_Drain], None]], Coroutine[object, object, None]]


def _run(name: str, state_dir: Path, part: _Part) -> int:
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


async def _until_signal(part: _Part) -> None:
    drains: list[_Drain] = []
    stop = Stop()
    running = asyncio.ensure_future(part(drains.append))
    asked = asyncio.ensure_future(stop.asked.wait())
    try:
        await asyncio.wait((running, asked), return_when=asyncio.FIRST_COMPLETED)
        for drain in drains if not running.done() else ():
            await drain()
    finally:
        asked.cancel()
        running.cancel("signal")
        await asyncio.wait({running})
    if not running.cancelled():
        running.result()
