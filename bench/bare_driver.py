"""One MLServer whose models a plain program loads and unloads by hand: what scheduling has to be compared with.

It knows the true sizes, loads in the order in which requests came, two at a time, and makes room by unloading who was
used longest ago among those with nothing in flight. Requests that wait for the same model share its load. It does
nothing else: no measuring, no routing, no second protocol hop, no fault is ever looked for.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Mapping
from typing import Final

from overbook.agent.servers.mlserver.repository import RestRepository

_LOADS_AT_ONCE: Final = 2
_CALL_SECONDS: Final = 60.0


class BareDriver:
    """``settings`` and ``sizes`` (bytes) of all models by their names; ``budget``: bytes that they may fill together.

    Make it inside the event loop that uses it. No model may be larger than the budget.
    """

    def __init__(
        self,
        repository: RestRepository,
        settings: Mapping[str, Mapping[str, object]],
        sizes: Mapping[str, int],
        budget: int,
    ) -> None:
        self._repository = repository
        self._settings = settings
        self._sizes = sizes
        self._free = budget
        # Requests in flight of each model in memory; who was used longest ago comes first.
        self._resident: OrderedDict[str, int] = OrderedDict()
        self._wanted: deque[str] = deque()
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        self._unloading: dict[str, asyncio.Task[object]] = {}
        self._loads: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def held(self, model: str) -> AsyncIterator[None]:
        """It is in memory for as long as the block runs. Raises what its load raised."""
        if model in self._resident:
            self._resident[model] += 1
            self._resident.move_to_end(model)
        else:
            await self._load_for_me(model)
        try:
            yield
        finally:
            self._resident[model] -= 1
            self._start_loads()

    async def _load_for_me(self, model: str) -> None:
        if model not in self._waiting:
            self._waiting[model] = []
            self._wanted.append(model)
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[model].append(mine)
        self._start_loads()
        await mine

    def _start_loads(self) -> None:
        """In order of arrival: who cannot have room yet holds up those behind."""
        while self._wanted and len(self._loads) < _LOADS_AT_ONCE:
            model = self._wanted[0]
            victims = self._victims(self._sizes[model] - self._free)
            if victims is None:
                return
            self._wanted.popleft()
            for victim in victims:
                del self._resident[victim]
                self._free += self._sizes[victim]
                self._unloading[victim] = asyncio.create_task(self._unload(victim))
            self._free -= self._sizes[model]
            load = asyncio.create_task(self._load(model, [self._unloading[v] for v in victims]))
            self._loads.add(load)

    def _victims(self, missing: int) -> list[str] | None:
        """Who makes up for so many bytes; None when those with nothing in flight are not enough."""
        chosen = []
        for model, in_flight in self._resident.items():
            if missing <= 0:
                break
            if not in_flight:
                chosen.append(model)
                missing -= self._sizes[model]
        return chosen if missing <= 0 else None

    async def _unload(self, model: str) -> None:
        await self._repository.unload(model, timeout=_CALL_SECONDS)
        del self._unloading[model]

    async def _load(self, model: str, before: list[asyncio.Task[object]]) -> None:
        """``before``: the unloads that make room for it."""
        problem: Exception | None = None
        try:
            # It may itself be on its way out still.
            own = [self._unloading[model]] if model in self._unloading else []
            await asyncio.gather(*before, *own)
            await self._repository.load(model, self._settings[model], timeout=_CALL_SECONDS)
        except Exception as error:
            problem = error
            self._free += self._sizes[model]
        waiting = self._waiting.pop(model)
        if problem is None:
            self._resident[model] = len(waiting)
        for each in waiting:
            if problem is None:
                each.set_result(None)
            else:
                each.set_exception(problem)
        task = asyncio.current_task()
        assert task is not None
        self._loads.discard(task)
        self._start_loads()
