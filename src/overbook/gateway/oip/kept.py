"""What servers were told through the gateway and lose with their process: regions of shared memory, trace and log
settings. A process that has not heard of them is told again.

It is kept in memory, by the gateway that was told. Who may be told what is not decided here.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection
from typing import Any, Final

from overbook.gateway.oip.asking import OverGrpc, OverRest, Question
from overbook.gateway.oip.errors import NotAvailable
from overbook.gateway.oip.ports import ServerAddress
from overbook.gateway.oip.surface import SERVICE
from overbook.runtimes.server_kinds import LOG, SHARED_MEMORY, TRACE

_log = logging.getLogger(__name__)

# Where a server's own settings are, by the word that allows it.
_SETTINGS: Final = {TRACE: "/v2/trace/setting", LOG: "/v2/logging"}
# Servers have a dozen, and take what they do not know without a word.
_MOST_SETTINGS: Final = 64


class Kept:
    """``revision`` changes whenever something is kept, or is no more."""

    def __init__(self) -> None:
        self._regions: dict[tuple[str, str], Question] = {}
        self._settings: dict[str, dict[str, object]] = {}
        self.revision = 0

    def region(self, kind: str, name: str, question: Question) -> None:
        """It was registered. ``question``: by which call; ``kind``: system or cuda."""
        self._regions[kind, name] = question
        self.revision += 1

    def no_region(self, kind: str, name: str) -> None:
        """It is registered no more; "": none of its kind is."""
        for each in [each for each in self._regions if each == (kind, name or each[1])]:
            del self._regions[each]
        self.revision += 1

    def forget_regions(self) -> None:
        """Nobody allows any more to register one."""
        self._regions.clear()
        self.revision += 1

    def settings(self, word: str, changed: dict[str, object]) -> None:
        """Of whole servers: what was set last of each counts; None: it is as at the start."""
        mine = self._settings.setdefault(word, {})
        for name, value in changed.items():
            mine.pop(name, None)
            if value is not None and len(mine) < _MOST_SETTINGS:
                mine[name] = value
        self.revision += 1

    async def tell(self, where: ServerAddress, allow: Collection[str]) -> None:
        """Tell a server what it allows to be told and has not heard. Raises NotAvailable."""
        if SHARED_MEMORY in allow:
            await self._register(where)
        for word, path in _SETTINGS.items():
            if word in allow and self._settings.get(word):
                body = json.dumps(self._settings[word]).encode()
                reply = await OverRest("POST", path, body).ask(where)
                if not reply.ok:
                    _log.warning(
                        "server at %s: its %s settings could not be set again: %s",
                        *(where.rest, word, reply.text),
                    )

    async def take_back(self, where: ServerAddress) -> None:
        """A server has withdrawn its leave: what was registered through the gateway goes. Raises NotAvailable."""
        for kind, name in list(self._regions):
            await unregistration(kind, name).ask(where)

    async def _register(self, where: ServerAddress) -> None:
        for kind in {kind for kind, _ in self._regions}:
            there = await _registered(where, kind)
            mine = {name: each for (of, name), each in self._regions.items() if of == kind}
            for name, question in mine.items():
                if name in there:
                    continue
                reply = await question.ask(where)
                # A client may have been quicker.
                if not reply.ok and name not in await _registered(where, kind):
                    _log.warning(
                        "region %r of %s shared memory could not be registered again at %s, and is forgotten: %s",
                        *(name, kind, where.rest, reply.text),
                    )
                    self.no_region(kind, name)


def unregistration(kind: str, name: str) -> OverGrpc:
    """The call that ends a region."""
    from tritonclient.grpc import service_pb2 as pb

    # The other kind's request has the same one field.
    message = pb.SystemSharedMemoryUnregisterRequest(name=name).SerializeToString()
    return OverGrpc(f"/{SERVICE}/{kind.capitalize()}SharedMemoryUnregister", message)


async def _registered(where: ServerAddress, kind: str) -> Collection[str]:
    """The names of all regions at a server, whoever registered them."""
    from tritonclient.grpc import service_pb2 as pb

    said: Any = {
        "system": pb.SystemSharedMemoryStatusResponse,
        "cuda": pb.CudaSharedMemoryStatusResponse,
    }
    reply = await OverGrpc(f"/{SERVICE}/{kind.capitalize()}SharedMemoryStatus", b"").ask(where)
    if not reply.ok:
        raise NotAvailable(
            f"the server at {where.grpc} does not say which regions it has: {reply.text}"
        )
    return set(said[kind].FromString(reply.body).regions)
