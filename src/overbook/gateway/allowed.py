"""Which servers allow calls that touch their machine, and that each of them has heard what was told through them.

The words are in the catalogue, as the Servers' manifests have them, and hold from the moment at which they change. What
a call means is decided in `oip`; here is who is asked.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from overbook.gateway.catalogue import Catalogue
from overbook.gateway.oip.errors import NotAvailable
from overbook.gateway.oip.kept import Kept
from overbook.gateway.oip.ports import ServerAddress
from overbook.gateway.router import Router
from overbook.runtimes.server_kinds import SHARED_MEMORY

_log = logging.getLogger(__name__)

# A server that comes back is not kept from its requests for longer than that.
_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class _Heard:
    """Up to where a server was told. ``epoch``: of its process."""

    where: ServerAddress
    epoch: int
    allow: frozenset[str]
    revision: int


class Allowed:
    """`run` tells servers that begin to allow something, or cease to, until cancelled."""

    def __init__(self, catalogue: Catalogue, router: Router) -> None:
        self._catalogue = catalogue
        self._router = router
        self.kept: Final = Kept()
        self._heard: dict[str, _Heard] = {}
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._changed = asyncio.Event()

    def words(self) -> set[str]:
        """All words that some Server allows."""
        return {word for replica in self._catalogue.replicas().values() for word in replica.allow}

    def servers(self, word: str) -> Sequence[ServerAddress | None]:
        """The server replicas that allow it, by name; None for each that cannot be asked now."""
        replicas = self._catalogue.replicas().values()
        return [
            self._address(name)
            for name in sorted(each.name for each in replicas if word in each.allow)
        ]

    def forbidding(self, model: str, word: str) -> Sequence[str]:
        """The names of the Servers that have the model and do not allow it."""
        entry, replicas = self._catalogue.find(model), self._catalogue.replicas()
        held = (
            () if entry is None else (replicas[each] for each in entry.replicas if each in replicas)
        )
        return sorted({each.name.rpartition("/")[0] for each in held if word not in each.allow})

    def catalogue_changed(self) -> None:
        """Replicas came, went, or their Servers allow something else."""
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            replicas = self._catalogue.replicas()
            for name in [each for each in self._heard if each not in replicas]:
                del self._heard[name]
            for name in replicas:
                where = self._address(name)
                if where is not None:
                    await self.tell(name, where)
            if SHARED_MEMORY not in self.words():
                self.kept.forget_regions()

    async def tell(self, replica: str, where: ServerAddress) -> None:
        """Bring a server up to date. Raises nothing: one that cannot be told is served all the same."""
        async with self._turns[replica]:
            now = self._state(replica, where)
            before = self._heard.get(replica)
            if now == before:
                return
            try:
                async with asyncio.timeout(_SECONDS):
                    if before is not None and SHARED_MEMORY in before.allow - now.allow:
                        await self.kept.take_back(where)
                    await self.kept.tell(where, now.allow)
            except (NotAvailable, TimeoutError) as error:
                _log.warning("%s was not told again what it had been told: %r", replica, error)
                return
            self._heard[replica] = now

    def _state(self, replica: str, where: ServerAddress) -> _Heard:
        entry = self._catalogue.replicas().get(replica)
        allow = frozenset() if entry is None else entry.allow
        return _Heard(where, self._router.grants.epoch(replica), allow, self.kept.revision)

    def _address(self, replica: str) -> ServerAddress | None:
        found = self._router.address(replica)
        return None if found is None else ServerAddress(found.rest, found.grpc)
