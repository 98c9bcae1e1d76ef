"""The models in memory as meter and memory watch see them, in bytes, and what these keep from them.

The one holder of what is withheld, and by whom. What that means for models is the core's to decide.
"""

from __future__ import annotations

from collections.abc import Callable

from overbook.agent.arrears import Arrears
from overbook.agent.contents import Contents
from overbook.agent.memory.sizes import Measurable, Sizes
from overbook.agent.servers.protocol import PreparedModel
from overbook.residency.core import Core
from overbook.residency.events import Event, ModelName, Withhold


class Residents:
    """Of one server replica. ``feed``: to the core. ``size``: bytes to charge for a content, by what is known now.
    ``guard_again``: have the guard look now; it says by `guard` what that changed.

    ``refusing``: why nothing is activated; empty when it is. ``guarded``: bytes that the guard keeps from models.
    """

    def __init__(
        self,
        core: Core,
        contents: Contents,
        sizes: Sizes,
        size: Callable[[PreparedModel], int],
        feed: Callable[[Event], None],
        guard_again: Callable[[], None],
    ) -> None:
        self._core = core
        self._contents = contents
        self._sizes = sizes
        self._arrears = Arrears(contents, core, size)
        self._feed = feed
        self._guard_again = guard_again
        self._used: set[ModelName] = set()
        self._lost = 0
        self.guarded = 0
        self.refusing = ""

    @property
    def budget(self) -> int:
        return self._core.ledger.budget

    @property
    def charged_bytes(self) -> int:
        return self._core.ledger.total

    @property
    def overdrawn(self) -> int:
        return self._core.overdrawn

    @property
    def charged_in_all(self) -> int:
        """Bytes of all models in the ledger, with what loads take for a moment."""
        return self.charged_bytes + self.overdrawn

    def charged(self, model: ModelName) -> int:
        return self._core.ledger.of(model)

    def resident_contents(self) -> list[tuple[Measurable, int]]:
        return [
            (self._sizes.content(prepared.artifact.name), self.charged(model))
            for model, prepared in self._contents.in_server.items()
        ]

    def starved(self) -> bool:
        return self._core.starved()

    def use(self, model: ModelName) -> None:
        """It was asked."""
        self._used.add(model)

    def take_used(self) -> list[Measurable | None]:
        used, self._used = self._used, set()
        found = map(self._contents.loaded, used)
        content = self._sizes.content
        return [None if each is None else content(each.artifact.name) for each in found]

    def guard(self, withheld: int, refusing: str) -> None:
        self.guarded, self.refusing = withheld, refusing
        self._withhold()

    def look_again(self) -> None:
        """Before a model is seen as idle: what its inference borrowed may have been given back since the last look.

        Otherwise the guard evicts it for memory that nobody holds any more.
        """
        if self.guarded:
            self._guard_again()

    def withhold_lost(self, lost: int) -> None:
        """So many bytes are lost to the models until the process ends."""
        self._lost = lost
        self._withhold()

    def catch_up(self) -> None:
        """Charge loaded models with what they are known to take by now, see `Arrears`."""
        for charge in self._arrears.settle(self._with):
            self._feed(charge)
        self._withhold()

    def room_came(self) -> None:
        """A model has left: what waited for room may be charged now."""
        if self._arrears.kept:
            self.catch_up()

    def end(self) -> None:
        """The process is gone, and with it whatever was withheld because of it."""
        self._lost = self.guarded = self._arrears.kept = 0
        self.refusing = ""

    def _withhold(self) -> None:
        """The guard's room is that of all models together, so what is lost is in it already."""
        size = self._with(self._arrears.kept)
        if size != self._core.ledger.withheld:
            owed = size > max(self._lost, self.guarded)
            self._feed(Withhold(size, lost=self._lost >= self.guarded, owed=owed))

    def _with(self, kept: int) -> int:
        return max(self._lost, self.guarded, kept)
