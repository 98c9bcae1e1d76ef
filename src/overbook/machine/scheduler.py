"""Runs the scheduler as one task among others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from overbook.placement import Provider
from overbook.runtimes.capabilities import sources
from overbook.scheduler.manifests_in import Defaults
from overbook.scheduler.part import Scheduler, SchedulerConfig, running_scheduler


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


class SchedulerPart:
    """``missing`` answers `/readyz`: None when ready, else what is not. ``serving`` is set once the API answers."""

    def __init__(
        self, config: SchedulerConfig, missing: Callable[[], str | None] = lambda: None
    ) -> None:
        self._config = config
        self._missing = missing
        self._scheduler: Scheduler | None = None
        self.serving = asyncio.Event()

    @property
    def running(self) -> int:
        """Calls of the control API that are not answered yet."""
        return 0 if self._scheduler is None else self._scheduler.running

    def leave(self) -> None:
        """`/readyz` says no from now on; everything is served as before."""
        if self._scheduler is not None:
            self._scheduler.leave()

    async def drain(self) -> None:
        """Return when no call of the control API runs any more."""
        if self._scheduler is not None:
            await self._scheduler.drain()

    async def refuse(self, why: str) -> None:
        """Calls that still run are ended by the end of `run`: its server answers 500, or hangs up."""

    async def run(self) -> None:
        """Until cancelled."""
        async with running_scheduler(self._config) as scheduler:
            scheduler.set_ready(self._missing)
            self._scheduler = scheduler
            self.serving.set()
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                self._scheduler = None
