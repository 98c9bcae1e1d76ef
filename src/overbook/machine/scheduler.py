"""Runs the scheduler as one task among others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from overbook.placement import Provider
from overbook.runtimes.words import sources
from overbook.scheduler.manifests_in import Defaults
from overbook.scheduler.part import SchedulerConfig, running_scheduler


def scheduler_config(
    state_dir: Path, *, listen: str, host: str, api_port: int, defaults: Defaults
) -> SchedulerConfig:
    """Its files are in `scheduler` in the state folder. ``defaults``: for Servers that do not say."""
    return SchedulerConfig(
        state_dir=state_dir / "scheduler",
        listen=listen,
        api_host=host,
        api_port=api_port,
        defaults=defaults,
        providers=providers(),
    )


def providers() -> tuple[Provider, ...]:
    """What the runtimes' data say of requirements, in the words of placement."""
    return tuple(Provider(each.word, each.runtime, each.extra, each.attached) for each in sources())


async def run_scheduler(
    config: SchedulerConfig, *, serving: asyncio.Event, missing: Callable[[], str | None]
) -> None:
    """Until cancelled. ``missing`` answers `/readyz`: None when ready, else what is not."""
    async with running_scheduler(config) as scheduler:
        scheduler.set_ready(missing)
        serving.set()
        await asyncio.get_running_loop().create_future()
