"""Which models call which, by their names. A relation and nothing else: what follows from it is in `together`."""

from __future__ import annotations

from overbook.residency.events import ModelName


class Calls:
    """Kept both ways, in the order in which it was told. Names need not be registered, and may call in a circle."""

    __slots__ = ("_callees", "_callers")

    def __init__(self) -> None:
        self._callees: dict[ModelName, tuple[ModelName, ...]] = {}
        self._callers: dict[ModelName, dict[ModelName, None]] = {}

    def __bool__(self) -> bool:
        return bool(self._callees)

    def set(self, model: ModelName, callees: tuple[ModelName, ...]) -> None:
        for each in self._callees.pop(model, ()):
            callers = self._callers[each]
            del callers[model]
            if not callers:
                del self._callers[each]
        if callees:
            self._callees[model] = tuple(dict.fromkeys(callees))
        for each in self._callees.get(model, ()):
            self._callers.setdefault(each, {})[model] = None

    def all_callers(self) -> tuple[ModelName, ...]:
        """Models that call any."""
        return tuple(self._callees)

    def callees(self, model: ModelName) -> tuple[ModelName, ...]:
        """What it calls itself."""
        return self._callees.get(model, ())

    def callers(self, model: ModelName) -> tuple[ModelName, ...]:
        """Who calls it itself."""
        callers = self._callers.get(model)
        return tuple(callers) if callers else ()

    def below(self, model: ModelName) -> tuple[ModelName, ...]:
        """All that it calls, also by way of others; callees come before their callers. It is in it in a circle only."""
        if model not in self._callees:
            return ()
        found: dict[ModelName, None] = {}
        entered: set[ModelName] = set()
        trail = [(each, False) for each in reversed(self.callees(model))]
        while trail:
            name, left = trail.pop()
            if left:
                found[name] = None
            elif name not in entered:
                entered.add(name)
                trail.append((name, True))
                trail += [(each, False) for each in reversed(self.callees(name))]
        return tuple(found)
