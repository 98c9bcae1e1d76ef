"""Has contents weighed that nobody has weighed yet: one after the other, those in memory first; and once more, after
all others, when the first request for a content is known, as some models allocate only then.

Nothing waits for it: a model that is wanted is loaded by what is believed of it, and charged what it weighs as soon
as that is known. Decides nothing about models; where a weight goes, and what follows from it, is `sizes`'.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Set
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from overbook.agent.looking import failing_alone
from overbook.agent.memory.guard import margin_of
from overbook.agent.memory.machine import Room
from overbook.agent.memory.sizes import Measurable, Sizes
from overbook.agent.servers.protocol import (
    ModelRejected,
    PreparedModel,
    WeighingFailed,
    Weight,
)
from overbook.artifacts.errors import ArtifactError

log = logging.getLogger(__name__)

# Seconds that a load may take there.
_LONGEST: Final = 300.0
# A load that takes longer than this, in seconds, is no reason for the others to wait.
_SLOW: Final = 2.0
_AT_ONCE: Final = 2
# Seconds until one is tried again for which the machine had no memory to spare, or that was interrupted.
_LATER: Final = 15.0
# For a process that ends under it each time, without its load being to blame as far as anybody knows.
_TRIES: Final = 5
# A weight that is so many times what was expected, and by so many bytes more, is taken twice before it is believed.
_ODD: Final = 8
_ODD_BYTES: Final = 16 << 20


class Scale(Protocol):
    """The inference server, as far as it matters here."""

    @property
    def weighs(self) -> bool: ...

    async def weigh(
        self, model: PreparedModel, *, timeout: float, request: bytes | None = None
    ) -> Weight | None: ...


@dataclass(frozen=True, slots=True)
class WeigherPorts:
    """``loaded``: digests of what is in memory or on its way. ``room``: what the machine has left; None: not known.

    ``base``: bytes of a process with no model in it. ``tried``: is told how each weighing ended, None for well: it is
    also a trial of the model (see `verification`). ``present``: has its files on the disk while its block runs; raises
    ArtifactError.
    """

    scale: Scale
    sizes: Sizes
    loaded: Callable[[], set[str]]
    room: Callable[[], Room | None]
    base: Callable[[], int]
    tried: Callable[[PreparedModel, Exception | None], None]
    present: Callable[[PreparedModel], AbstractAsyncContextManager[None]]


class Weigher:
    """Of one server replica. `run` it."""

    def __init__(self, ports: WeigherPorts) -> None:
        self._ports = ports
        self._models: dict[str, PreparedModel] = {}
        self._requests: dict[str, bytes] = {}  # to ask those who wait
        self._waiting: dict[str, PreparedModel] = {}
        self._weighing: set[str] = set()
        self._failed: set[str] = set()
        self._news = asyncio.Event()

    def want(self, model: PreparedModel) -> None:
        """This model's content should be weighed, if it has not been."""
        digest = model.artifact.name
        self._models[digest] = model
        if not self._ports.scale.weighs or digest in self._failed or digest in self._weighing:
            return
        if not self._is_weighed(digest):
            self._waiting[digest] = model
            self._news.set()
        else:
            self._ports.tried(model, None)  # by whoever weighed it before

    def sampled(self, digest: str, request: bytes) -> None:
        """A request to such a model came, which is to be asked there as well."""
        model = self._models.get(digest)
        if model is not None and digest not in self._failed:
            self._requests[digest] = request
            self._waiting[digest] = model
            self._news.set()

    def files_left(self, digest: str) -> None:
        """They are not fetched for this: it is weighed when they are back, and `want` is said again."""
        self._waiting.pop(digest, None)

    def keep_only(self, digests: set[str]) -> None:
        """The models with other contents left."""
        for known in (self._models, self._waiting, self._requests):
            for gone in known.keys() - digests:
                del known[gone]
        self._failed &= digests

    @property
    def wanted(self) -> Set[str]:
        """Digests of what is being weighed, or is to be for the first time: what is weighed once more need not stay."""
        return self._weighing | {each for each in self._waiting if not self._is_weighed(each)}

    @property
    def under_way(self) -> Set[str]:
        """Digests of what is being weighed."""
        return self._weighing

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._news.wait()
                self._news.clear()
                while self._waiting:
                    model = self._next()
                    if not self._enough_memory(model):
                        await asyncio.sleep(_LATER)
                        continue
                    del self._waiting[model.artifact.name]
                    task = tasks.create_task(self._settle(model), name=f"weigh {model.name}")
                    done, _ = await asyncio.wait({task}, timeout=_SLOW)
                    while not done and len(self._weighing) >= _AT_ONCE:
                        done, _ = await asyncio.wait({task}, timeout=_SLOW)

    def _next(self) -> PreparedModel:
        """A guess may be off by any factor, a weight seldom is; and what is in memory is charged now."""
        loaded = self._ports.loaded()
        first = min(
            self._waiting, key=lambda digest: (self._is_weighed(digest), digest not in loaded)
        )
        return self._waiting[first]

    def _is_weighed(self, digest: str) -> bool:
        evidence = self._ports.sizes.evidence(digest)
        return evidence is not None and evidence.weight is not None

    def _enough_memory(self, model: PreparedModel) -> bool:
        """It takes as much as the server when it was empty, and the model, beside what must stay free."""
        room = self._ports.room()
        if room is None:
            return True
        peak = self._ports.sizes.peak(self._ports.sizes.content(model.artifact.name))
        return room.available >= self._ports.base() + peak + 2 * margin_of(room.total)

    async def _settle(self, model: PreparedModel) -> None:
        """Weigh it, and again later whenever that was interrupted, which says nothing of the model."""
        digest = model.artifact.name
        for _ in range(_TRIES):
            request = self._requests.pop(digest, None)
            if await self._weigh(model, request):
                return
            await asyncio.sleep(_LATER)
            if digest not in self._models:
                return
            if request is not None:
                self._requests.setdefault(digest, request)
        self._failed.add(digest)

    async def _weigh(self, model: PreparedModel, request: bytes | None) -> bool:
        """Whether that came to an end, good or bad."""
        digest = model.artifact.name
        self._weighing.add(digest)
        content = self._ports.sizes.content(digest)
        try:
            with failing_alone(model.name, "its files, in order to weigh it,"):
                async with self._ports.present(model):
                    weight = await self._confirmed(model, content, request)
        except ArtifactError as error:
            log.info("model '%s' could not be weighed: %s", model.name, error)
            return False
        except (ModelRejected, WeighingFailed) as error:
            # A load in the server will tell people; what it takes has to be guessed.
            log.info("model '%s' could not be weighed: %s", model.name, error)
            if isinstance(error, WeighingFailed) and not error.died and not error.raised:
                return False
            self._failed.add(digest)
            self._ports.tried(model, error)
            return True
        finally:
            self._weighing.discard(digest)
        if weight is not None:
            self._ports.sizes.weighed(content, weight)
            self._ports.tried(model, None)
        return True

    async def _confirmed(
        self, model: PreparedModel, content: Measurable, request: bytes | None
    ) -> Weight | None:
        weight = await self._ports.scale.weigh(model, timeout=_LONGEST, request=request)
        expected = self._ports.sizes.guess(content)
        if weight is None or weight.kept <= _ODD * expected + _ODD_BYTES:
            return weight
        again = await self._ports.scale.weigh(model, timeout=_LONGEST, request=request)
        return weight if again is None or weight.kept <= again.kept else again
