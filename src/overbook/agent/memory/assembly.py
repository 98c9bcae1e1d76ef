"""Puts the measuring of one agent together: what is measured with, where it is kept, who watches. Composition only."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from overbook.agent.clock import Clock
from overbook.agent.guesses import Guess
from overbook.agent.memory.gpu import find_gpus
from overbook.agent.memory.history import History
from overbook.agent.memory.machine import Room, room_for
from overbook.agent.memory.meter import Meter, Sampling
from overbook.agent.memory.probe import TreeProbe
from overbook.agent.memory.readings import Reading
from overbook.agent.memory.recycling import Recycling
from overbook.agent.memory.sizes import Sizes
from overbook.agent.memory.store import SizeStore
from overbook.agent.memory.unattributed import Unattributed, slack_of
from overbook.agent.memory.watch import Residents, Watch, WatchPorts
from overbook.agent.memory.weigher import Weigher, WeigherPorts
from overbook.agent.notices import Notices
from overbook.agent.servers.protocol import InferenceServer, PreparedModel


class MemoryOffice:
    """All of it for one server replica. ``runtime`` names the runtime and its pinned packages.

    ``tell``: is told when the file of what was measured is of no use.
    """

    def __init__(
        self,
        *,
        server: InferenceServer,
        folder: Path,
        runtime: str,
        guess: Guess,
        budget: int,
        tell: Callable[[str], None],
    ) -> None:
        self._server = server
        self._clock = Clock()
        self._store = SizeStore(folder / "sizes.db", runtime, tell)
        self.history = History(folder / "sizes.db", runtime, tell)
        self._probe = TreeProbe(lambda: server.pid)
        self.sizes = Sizes(self._store, guess)
        self.recycling = Recycling()
        self.meter = Meter(
            probe=self._probe,
            exact=self._exact,
            weighs=server.weighs,
            borrowed=server.borrowed,
            grown=server.grown,
            sizes=self.sizes,
            clock=self._clock,
            state=Unattributed(slack_of(budget)),
        )

    def weigher(
        self,
        loaded: Callable[[], set[str]],
        tried: Callable[[PreparedModel, Exception | None], None],
    ) -> Weigher:
        """See `WeigherPorts`."""
        weigher = Weigher(
            WeigherPorts(
                scale=self._server,
                sizes=self.sizes,
                loaded=loaded,
                room=self.room,
                base=lambda: self.meter.state.base,
                tried=tried,
            )
        )
        self.meter.sampling = Sampling(self._server.sample, weigher.sampled)
        return weigher

    async def _exact(self, name: str) -> int | None:
        own = await self._server.model_memory(name)
        return None if own is None else own.bytes

    def room(self) -> Room | None:
        """What the machine, or the group of the process, leaves."""
        pid = self._server.pid
        return None if pid is None else room_for(pid)

    def watch(
        self,
        *,
        residents: Residents,
        notices: Notices,
        serving: Callable[[], bool],
        recycle: Callable[[str], None],
        recycling: Callable[[], bool],
        report: Callable[[Reading | None], bool],
    ) -> Watch:
        """See `WatchPorts`."""
        ports = WatchPorts(
            residents=residents,
            meter=self.meter,
            notices=notices,
            clock=self._clock,
            gpus=find_gpus(),
            room=self.room,
            quick=self._probe.quick,
            peak=self._probe.peak,
            members=lambda: self._probe.members,
            serving=serving,
            recycle=recycle,
            recycling=recycling,
            report=report,
        )
        return Watch(ports, self.recycling)

    def close(self) -> None:
        self.sizes.save()
        self._store.close()
        self.history.close()
