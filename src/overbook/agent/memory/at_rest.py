"""Loads and unloads of a server that weighs contents (`weigher` has that done), and says what came back.

Loads are not looked at. Of some unloads the server itself says what they gave back, and of models that were asked for
what they have allocated since their load: it knows whether it was at rest. It gives memory back before it answers, so
that its process is looked at once after an unload; what is missing then is withheld from the budget.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

from overbook.agent.memory.attribution import Attribution
from overbook.agent.memory.readings import Probe
from overbook.agent.memory.sizes import Measurable, Sizes
from overbook.agent.memory.telling import Sampling, Telling, Work
from overbook.agent.memory.unattributed import Unattributed

# Returns of a content that are measured in any case, and after how many unloads one more is.
_ENOUGH: Final = 2
_AGAIN: Final = 16


class AtRest:
    """``borrowed``: bytes that requests which are being answered may hold, and ``grown`` those that a model allocated
    since its load, as far as the server can tell.
    """

    def __init__(
        self,
        *,
        probe: Probe,
        borrowed: Callable[[], Awaitable[int]],
        grown: Callable[[str], Awaitable[int | None]],
        sizes: Sizes,
        state: Unattributed,
        attribution: Attribution,
        telling: Telling,
        sampling: Sampling,
    ) -> None:
        self._probe = probe
        self._borrowed = borrowed
        self._grown = grown
        self._sizes = sizes
        self._state = state
        self._attribution = attribution
        self._telling = telling
        self._sampling = sampling
        self._in_use: dict[str, Measurable] = {}  # loaded, and not known yet to have grown or not
        self._to_sample: dict[str, Measurable] = {}  # loaded once, and not weighed with a request
        # Of these, the ones that answered requests since they were looked at.
        self._used: set[str] = set()
        self._unloads: Counter[str] = Counter()

    def forget(self) -> None:
        """The process is gone, and what was to be asked of it."""
        self._in_use.clear()

    # -- loads

    @contextlib.asynccontextmanager
    async def loading(
        self, name: str, content: Measurable, replaces: Measurable | None
    ) -> AsyncIterator[None]:
        """Around the call that loads."""
        window = self._attribution.open(0)
        try:
            yield
        finally:
            self._attribution.close(window, None)
        if self._worth_a_look(content):
            self._in_use[name] = content
        if self._unasked(content):
            self._to_sample[name] = content

    # -- requests

    def used(self, name: str, in_flight: int) -> None:
        """The model answered requests."""
        if name in self._in_use or name in self._to_sample:
            self._used.add(name)

    async def look_at_growth(self) -> None:
        """Find out what models have allocated that were asked for since their load."""
        used, self._used = self._used, set()
        for name in used:
            await self._look_for_a_request(name)
            content = self._in_use.get(name)  # gone when it left meanwhile
            if content is not None and await self._ask_for_growth(name, content):
                self._telling.measured()

    async def _look_for_a_request(self, name: str) -> None:
        """One that can be asked where its content is weighed; the model itself may have left again by now."""
        content = self._to_sample.get(name)
        if content is None:
            return
        if not self._unasked(content):
            del self._to_sample[name]
            return
        request = await self._sampling.sample(name)
        if request is not None:
            self._to_sample.pop(name, None)
            self._sampling.sampled(content.digest, request)

    async def _ask_for_growth(self, name: str, content: Measurable) -> bool:
        """The server is asked, which knows whether anybody else was."""
        evidence = self._sizes.evidence(content.digest)
        if evidence is None or evidence.weight is None:
            self._used.add(name)  # until it is weighed
            return False
        grown = await self._grown(name)
        if grown is not None:
            self._sizes.grew(content, grown)
        if not self._worth_a_look(content):
            self._in_use.pop(name, None)
        return grown is not None

    def _unasked(self, content: Measurable) -> bool:
        evidence = self._sizes.evidence(content.digest)
        return evidence is None or evidence.weight is None or not evidence.weight.asked

    def _worth_a_look(self, content: Measurable) -> bool:
        evidence = self._sizes.evidence(content.digest)
        return self._unasked(content) and (evidence is None or len(evidence.uses) < _ENOUGH)

    # -- unloads

    @contextlib.asynccontextmanager
    async def unloading(self, name: str, content: Measurable | None) -> AsyncIterator[Work]:
        """Around the call that unloads."""
        self._in_use.pop(name, None)
        window = self._attribution.open(0)
        try:
            yield Work(self._worth_measuring(content), lambda gave: self._said(content, gave))
        finally:
            self._attribution.close(window, None)
        held = self._probe.quick()
        if held is None or held <= self._state.ceiling(self._telling.charged_beside(name)):
            return
        if not self._attribution.quiet:
            return  # what another load takes for a moment is not lost: `Meter.look` compares over time
        held -= await self._borrowed()
        if self._state.fell_short(held, self._telling.charged_beside(name)):
            self._telling.withhold(self._state.withheld)

    def _worth_measuring(self, content: Measurable | None) -> bool:
        """It costs the server a moment, so: until there are samples, now and then, and when memory is missing."""
        if content is None:
            return False
        self._unloads[content.digest] += 1
        evidence = self._sizes.evidence(content.digest)
        few = evidence is None or len(evidence.returns) < _ENOUGH
        return few or self._state.withheld > 0 or self._unloads[content.digest] % _AGAIN == 0

    def _said(self, content: Measurable | None, gave: int | None) -> None:
        if content is not None and gave is not None:
            self._sizes.gave(content, gave)
