"""What loaded models are known to take beyond what they are charged, and when they are charged with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
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
    """Of one server. ``size``: bytes that a content is believed to take by now."""

    def __init__(
        self, contents: Contents, core: Core, size: Callable[[PreparedModel], int]
    ) -> None:
        self._contents = contents
        self._core = core
        self._size = size

    def due(self, models: Iterable[ModelName]) -> Iterator[Measured]:
        """Charges for those of these models that have changed, whoever must leave for them; feed each at once.

        A little more than there is room for is borne until there is: of each model no more than measuring may blur,
        and of all together no more than what loads may exceed the budget by.
        """
        ledger = self._core.ledger
        owed = sum(max(0, self._of(each)) for each in self._contents.in_server)
        for model in models:
            more = self._of(model)
            size = self._core.entries[model].loaded_size + more if more else 0
            little = more <= max(_LITTLE, _LITTLE_SHARE * size) and owed <= passing_of(
                ledger.budget
            )
            if more and not (little and max(0, ledger.free) < more):
                owed -= max(0, more)
                yield Measured(model, size)

    def _of(self, model: ModelName) -> int:
        """Below 0: it is charged too much."""
        prepared, entry = self._contents.in_server.get(model), self._core.entries.get(model)
        if prepared is None or entry is None or entry.state not in SERVING:
            return 0
        return self._size(prepared) - entry.loaded_size
