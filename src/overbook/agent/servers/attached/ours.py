"""The models that Overbook put into an attached server: which are loaded, which inherited, and which are stuck.

*Inherited* is what an earlier agent had loaded. Until all of it is claimed or unloaded no other load begins, since its
memory is in nobody's ledger. *Stuck* is a model whose load was given up, since it did not end and cannot be ended from
here: it is refused while that lasts, and what it brings in the end is unloaded; other models do not notice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from typing import Final

from overbook.agent.servers.attached.connection import CALL
from overbook.agent.servers.attached.folder import SharedFolder
from overbook.agent.servers.attached.kinds import Control
from overbook.agent.servers.attached.stock import lost, take_stock
from overbook.agent.servers.protocol import ModelRejected, Presence, ServerUnreachable

log = logging.getLogger(__name__)

_UNLOAD_LOOK: Final = 0.02
_UNLOADING: Final = 15.0


class OurModels:
    """Who unloads one takes its files out of ``folder`` as well. ``kind``: the server's name in messages.

    ``inherit``: seconds that may pass until what was inherited is asked for.
    """

    def __init__(self, folder: SharedFolder, kind: str, inherit: float) -> None:
        self._folder = folder
        self._kind = kind
        self._inherit = inherit
        self._loaded: set[str] = set()
        self._inherited: dict[str, str] = {}
        self._stuck: set[str] = set()
        self._freeing = asyncio.Lock()
        self._settled = asyncio.Event()
        self._clearing: asyncio.Task[None] | None = None

    # -- of an earlier agent

    async def take_over(self, client: Control, found: Mapping[str, Presence]) -> None:
        """What can be inherited stays, and the rest is unloaded now. ``found``: what the server's index says."""
        stock = take_stock(found, self._folder.placed)
        self._loaded.clear()
        self._inherited, self._stuck = dict(stock.inherited), set(stock.stuck)
        for name in stock.leaving:
            await self._unload(client, name, CALL)
        self._settled.clear()
        if not self._inherited:
            self._settled.set()

    def clear_later(self, client: Control) -> None:
        """Begins the time in which inherited models have to be asked for."""
        self._clearing = asyncio.create_task(
            self._clear(client), name="unload what nobody asked for"
        )

    async def let_go(self) -> None:
        """The connection is about to end; the models stay where they are."""
        clearing, self._clearing = self._clearing, None
        if clearing is not None:
            clearing.cancel()
            await asyncio.wait((clearing,))

    async def release(self, client: Control, timeout: float) -> None:
        """Unload and remove all of them: the server is not to be used any more."""
        for name in self._folder.placed.keys() - self._stuck:
            with contextlib.suppress(ServerUnreachable, ModelRejected):
                await client.unload(name, timeout=timeout)
            await asyncio.to_thread(self._folder.remove, name)

    async def _clear(self, client: Control) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._inherit):
                await self._settled.wait()
        while self._inherited:
            name, _ = self._inherited.popitem()
            try:
                await self._unload(client, name, CALL)
            except ServerUnreachable as error:
                log.warning("unload of %s, which nobody asked for: %s", name, error)
        self._settled.set()

    # -- loads

    def claim(self, name: str, digest: str) -> bool:
        """Whether it was inherited with this content, and so is loaded already. From now on it counts as asked for."""
        if self._take_inherited(name) != digest:
            return False
        self._loaded.add(name)
        return True

    async def may_load(self, client: Control, name: str) -> None:
        """Waits until nothing inherited is left. Raises ModelRejected while an earlier load of the model goes on."""
        await self._settled.wait()
        if name not in self._stuck:
            return
        found = await client.index(timeout=CALL)
        if found.get(name, Presence.ABSENT) is Presence.LOADING:
            raise ModelRejected(
                f"{name}: an earlier load of it has not ended in {self._kind}, and only who started that can end it",
                passing=True,
            )
        await self._free_stuck(client, found)

    async def loaded(self, name: str) -> None:
        """The server has loaded what lies in the folder."""
        await asyncio.to_thread(self._folder.loaded, name)
        self._loaded.add(name)

    async def refused(self, name: str) -> None:
        """The server has not: the files go, unless an earlier content of the model is loaded."""
        if name not in self._loaded:
            await asyncio.to_thread(self._folder.remove, name)

    def gave_up(self, name: str) -> None:
        """The load goes on in the server, and nobody waits for it any more."""
        self._stuck.add(name)

    def _take_inherited(self, name: str) -> str | None:
        digest = self._inherited.pop(name, None)
        if not self._inherited:
            self._settled.set()
        return digest

    # -- looks and unloads

    @property
    def held(self) -> frozenset[str]:
        """Those that are loaded at this moment."""
        return frozenset(self._loaded)

    async def look(
        self, client: Control, found: Mapping[str, Presence], held: frozenset[str]
    ) -> None:
        """Loads that were given up and have ended are cleared away. ``held``: as it was before ``found`` was asked for.

        Raises ServerUnreachable when models are gone that were loaded: the server was started again.
        """
        await self._free_stuck(client, found)
        if gone := lost(held & self._loaded, found):
            raise ServerUnreachable(
                f"it no longer holds {', '.join(gone[:3])}: it was started again"
            )

    async def unload(self, client: Control, name: str, timeout: float) -> None:
        self._take_inherited(name)
        if name in self._stuck and name not in self._loaded:
            return  # nothing to unload, and the server would not answer before that load has ended
        self._loaded.discard(name)
        await self._unload(client, name, timeout)

    async def _free_stuck(self, client: Control, found: Mapping[str, Presence]) -> None:
        """Loads that were given up and have ended since: nobody counts with what they brought."""
        async with self._freeing:
            for name in list(self._stuck):
                if found.get(name, Presence.ABSENT) is not Presence.LOADING:
                    if name not in self._loaded:
                        await self._unload(client, name, CALL)
                    self._stuck.discard(name)

    async def _unload(self, client: Control, name: str, timeout: float) -> None:
        """Until the server has let go; then the files go too, lest it loads them when it starts again."""
        try:
            await client.unload(name, timeout=timeout)
        except ModelRejected as error:
            raise ServerUnreachable(f"unload of {name}: {error}") from error
        async with asyncio.timeout(timeout):
            await self._until_absent(client, name, timeout)
        await asyncio.to_thread(self._folder.remove, name)

    async def _until_absent(self, client: Control, name: str, timeout: float) -> None:
        """Triton answers an unload before it has let go; after a crash inside it may be unloading for ever."""
        end = asyncio.get_running_loop().time() + _UNLOADING
        while asyncio.get_running_loop().time() < end:
            states = await client.index_states(timeout=timeout)
            if states.get(name, "").rpartition(".")[2] in ("", "UNAVAILABLE"):
                return
            await asyncio.sleep(_UNLOAD_LOOK)
        log.warning("%s says after %g s still that it unloads %s", self._kind, _UNLOADING, name)
