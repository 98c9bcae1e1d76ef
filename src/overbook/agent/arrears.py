"""What loaded models are known to take beyond what they are charged, and when they are charged with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from overbook.agent.contents import Contents
from overbook.agent.memory.unattributed import passing_of
from overbook.agent.servers.protocol import PreparedModel
from overbook.residency.core import Core
from overbook.residency.events import Measured, ModelName
from overbook.residency.states import SERVING

# What a charge may be off by: bytes, or a share of the model.
_LITTLE: Final = 256 << 10
_LITTLE_SHARE: Final = 0.05


class Arrears:
    """Of one server. ``size``: bytes that a content is believed to take by now.

    ``kept``: bytes to be withheld from all, as room is being made for what a loaded model is owed.
    """

    def __init__(
        self, contents: Contents, core: Core, size: Callable[[PreparedModel], int]
    ) -> None:
        self._contents = contents
        self._core = core
        self._size = size
        self.kept = 0

    def settle(self, withheld: Callable[[int], int]) -> Iterator[Measured]:
        """Charges that may be made now, to be fed one by one. ``withheld``: bytes withheld with so many kept.

        What takes much more than it is charged is charged at once, whoever must leave for it: that is the surprise
        which the law allows. A little more than there is room for is borne until there is: of each model no more than
        measuring may blur, and of all no more than loads may exceed the budget by. For what lies between, room is made
        first, so that the charges stay within the budget.
        """
        ledger, owed = self._core.ledger, list[ModelName]()
        passing = passing_of(ledger.budget)
        models = tuple(self._contents.in_server)
        borne = sum(self._of(each) for each in models if self._is_little(each)) <= passing
        for model in models:
            more = self._of(model)
            if more < 0 or more > passing or 0 < more <= ledger.free:
                yield self._charge(model)
            elif more and not (borne and self._is_little(model)):
                owed.append(model)
        self.kept = 0
        for model in owed:
            more = self._of(model)
            if ledger.total + more > ledger.budget - withheld(0):
                # One after the other: who leaves for it may be owed something as well.
                self.kept = more
                return
            yield self._charge(model, withheld(0))

    def _charge(self, model: ModelName, withheld: int | None = None) -> Measured:
        return Measured(model, self._core.entries[model].loaded_size + self._of(model), withheld)

    def _is_little(self, model: ModelName) -> bool:
        more = self._of(model)
        if more <= 0:
            return False
        return more <= max(_LITTLE, _LITTLE_SHARE * self._core.entries[model].loaded_size)

    def _of(self, model: ModelName) -> int:
        """Below 0: it is charged too much."""
        prepared, entry = self._contents.loaded(model), self._core.entries.get(model)
        if prepared is None or entry is None or entry.state not in SERVING:
            return 0
        return self._size(prepared) - entry.loaded_size
