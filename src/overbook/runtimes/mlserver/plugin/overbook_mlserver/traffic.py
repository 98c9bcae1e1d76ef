"""Pure: which requests have arrived at the endpoint for gateways and which are there now, by model.

A gateway names itself in each request that it let through by its own leave, and counts them too: so it can be told
whether all have arrived. Other requests came past it, straight from the proxy; nobody knows their number. Names are
bytes, as they come in. gRPC's streams count as well, which come by another port (see `streams`). Imports nothing of
MLServer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping


class Traffic:
    """Of one endpoint, since its process began."""

    def __init__(self) -> None:
        self._present: dict[bytes, int] = {}
        # By gateway, then by model.
        self._arrived: dict[bytes, dict[bytes, int]] = {}
        # Models that were asked for past the gateways since they were settled.
        self._direct: set[bytes] = set()
        self._watched: dict[bytes, list[Callable[[], None]]] = {}

    def enter(self, model: bytes, gateway: bytes | None) -> None:
        """The head of a request is there. ``gateway``: who let it through, when one did."""
        self._present[model] = self._present.get(model, 0) + 1
        if gateway is None:
            self._direct.add(model)
        else:
            arrived = self._arrived.setdefault(gateway, {})
            arrived[model] = arrived.get(model, 0) + 1

    def leave(self, model: bytes) -> None:
        """It was answered, or its connection is gone, and nothing works on it any more."""
        left = self._present[model] - 1
        if left:
            self._present[model] = left
            return
        del self._present[model]
        for told in tuple(self._watched.get(model, ())):
            told()

    def present(self, model: bytes) -> int:
        return self._present.get(model, 0)

    def direct(self, model: bytes) -> bool:
        """Whether requests came past the gateways since it was settled."""
        return model in self._direct

    def missing(self, model: bytes, passed: Mapping[bytes, int]) -> int:
        """How many of those that the gateways let through (``passed``, by gateway) have not arrived."""
        arrived = self._arrived
        return sum(
            max(0, count - arrived.get(gateway, {}).get(model, 0))
            for gateway, count in passed.items()
        )

    def settle(self, model: bytes, passed: Mapping[bytes, int]) -> None:
        """Nothing is on its way: what has not arrived never will, and what seems to be too much was forgiven before.

        Gateways that are not named are gone.
        """
        self._direct.discard(model)
        for gateway in list(self._arrived):
            if gateway not in passed:
                self._arrived[gateway].pop(model, None)
                if not self._arrived[gateway]:
                    del self._arrived[gateway]
        for gateway, count in passed.items():
            self._arrived.setdefault(gateway, {})[model] = count

    def watch(self, model: bytes, told: Callable[[], None]) -> None:
        """Call ``told`` whenever the last request of the model has left, until `unwatch`."""
        self._watched.setdefault(model, []).append(told)

    def unwatch(self, model: bytes, told: Callable[[], None]) -> None:
        watching = self._watched[model]
        watching.remove(told)
        if not watching:
            del self._watched[model]
