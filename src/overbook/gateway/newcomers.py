"""Pure: which hot models are not worth a mark yet.

A mark costs Envoy and the gateway something when it is put, and again when it is taken away before an eviction; without
it a request to a hot model takes the cold path, where no agent is asked about it. So a model earns its mark: by
requests, or by staying. One that leaves before that costs nothing to withdraw.
"""

from __future__ import annotations

from typing import Final

# Requests through the cold path that cost about as much as putting a mark and taking it away (docs/adr/0005).
GRANTS: Final = 6
# Who stays has its mark after so long, asked for or not: then requests for it need nothing but Envoy. It begins, and is
# looked at, when Envoy's counters are read.
SETTLED_SECONDS: Final = 2.0


class Newcomers:
    """Hot models without marks, with the requests since they came."""

    def __init__(self) -> None:
        self._granted: dict[str, int] = {}
        self._since: dict[str, float] = {}

    def __contains__(self, model: str) -> bool:
        return model in self._granted

    def come(self, model: str) -> None:
        """It became hot. Again: nothing changes."""
        self._granted.setdefault(model, 0)

    def leave(self, model: str) -> None:
        """It is not hot any more, or marked. Unknown names change nothing."""
        self._granted.pop(model, None)
        self._since.pop(model, None)

    def grant(self, model: str) -> bool:
        """A request took the cold path. True: the model has earned its mark and is no newcomer any more."""
        if model not in self._granted:
            return False
        self._granted[model] += 1
        if self._granted[model] < GRANTS:
            return False
        self.leave(model)
        return True

    def settle(self, now: float) -> list[str]:
        """Those that have stayed, and are no newcomers any more. ``now``: seconds; call it every now and then."""
        stayed = []
        for model in self._granted:
            if now - self._since.setdefault(model, now) >= SETTLED_SECONDS:
                stayed.append(model)
        for model in stayed:
            self.leave(model)
        return stayed
