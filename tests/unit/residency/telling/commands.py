"""Which event each command of a story tells the core. `stories/README.md` has them in a table.

Times are said as seconds from now; what is not said is as the event has it by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from overbook.residency import events as ev
from overbook.residency.events import Event, ModelName, RequestId, Ticket
from tests.unit.residency.telling.arguments import Arguments, WrongCommand, sized, whole
from tests.unit.residency.world import World

_STRANGER: Final = "stranger"
_NOBODY: Final = RequestId(0)


class Scene:
    """A world, and how the story calls its requests: r1, r2 and so on, in the order in which they came."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._requests: dict[str, RequestId] = {_STRANGER: _NOBODY}
        self._names: dict[RequestId, str] = {_NOBODY: _STRANGER}

    def came(self, request: RequestId, model: ModelName) -> None:
        name = f"r{len(self._requests)}"
        self._requests[name], self._names[request] = request, name
        self.world.next_request, self.world.model_of[request] = request, model

    def name(self, request: RequestId) -> str:
        return f"{self._names[request]} of {self.world.model_of[request]}"

    def request(self, name: str) -> RequestId:
        if name not in self._requests:
            raise WrongCommand(f"there was no request '{name}'")
        return self._requests[name]

    def at(self, seconds: float) -> float:
        return self.world.now + seconds


def _register(said: Arguments, scene: Scene) -> Event:
    model, size = sized(said.next("a model and its bytes"))
    known = scene.world.core.entries.get(model)
    return ev.Register(
        model,
        size,
        said.number("generation", 1 if known is None else known.generation),
        pinned=said.flag("pinned"),
        priority=said.number("priority", 0),
        warm=said.flag("warm", True),
        keep_alive=said.seconds("keep-alive", 0.0),
        load_seconds=said.seconds_if_said("load-time"),
        last_used=scene.at(said.seconds("last-used", -math.inf)),
        reserve=said.number("reserve", 0),
        peak=said.number("peak", 0),
        proven=said.flag("proven"),
    )


def _request(said: Arguments, scene: Scene) -> Event:
    again = said.text("again", "")
    request = scene.request(again) if again else RequestId(scene.world.next_request + 1)
    deadline = scene.at(said.seconds("deadline", math.inf))
    return ev.RequestArrived(request, said.model(), deadline, said.flag("suspect"))


def _usage(said: Arguments, scene: Scene) -> Event:
    model, in_flight = said.model(), said.must_number("in-flight")
    return ev.UsageSeen(model, in_flight, scene.at(said.seconds("last-active", 0.0)))


def _loaded(said: Arguments, scene: Scene) -> Event:
    model, measured = said.model(), said.number_if_said("measured")
    return ev.LoadSucceeded(model, measured, said.seconds_if_said("took"))


def _load_failed(said: Arguments, scene: Scene) -> Event:
    model = said.model()
    reason = said.text("reason", f"cannot read '{model}'")
    return ev.LoadFailed(model, reason, said.flag("passing"))


def _measured(said: Arguments, scene: Scene) -> Event:
    model, size = sized(said.next("a model and its bytes"))
    return ev.Measured(model, size, said.number_if_said("withheld"))


def _ticket(said: Arguments, model: ModelName, asked: dict[ModelName, Ticket]) -> Ticket:
    """That of the drain, unless the story names another one."""
    ticket = said.number_if_said("ticket")
    if ticket is not None:
        return Ticket(ticket)
    if model not in asked:
        raise WrongCommand(f"'{said.name}': nobody was asked that of '{model}'")
    return asked[model]


def _withdrawn(said: Arguments, scene: Scene) -> Event:
    model = said.model()
    return ev.Withdrawn(model, _ticket(said, model, scene.world.withdrawals))


def _drained(said: Arguments, scene: Scene) -> Event:
    model = said.model()
    return ev.Drained(model, _ticket(said, model, scene.world.settling))


def _hold_back(said: Arguments, scene: Scene) -> Event:
    model, generation = said.model(), said.number("generation", 1)
    reason = said.text("reason", "it ended the process")
    return ev.HoldBack(model, generation, reason, scene.at(said.seconds("until", math.inf)))


def _withhold(said: Arguments, scene: Scene) -> Event:
    size = whole(said.next("bytes"))
    return ev.Withhold(size, said.flag("lost", True), said.flag("owed"))


EVENTS: Final[dict[str, Callable[[Arguments, Scene], Event]]] = {
    "register": _register,
    "remove": lambda said, scene: ev.Remove(said.model()),
    "request": _request,
    "leave": lambda said, scene: ev.RequestLeft(scene.request(said.next("a request"))),
    "passed": lambda said, scene: ev.Passed(scene.request(said.next("a request"))),
    "usage": _usage,
    "loaded": _loaded,
    "load-failed": _load_failed,
    "measured": _measured,
    "withdrawn": _withdrawn,
    "drained": _drained,
    "unloaded": lambda said, scene: ev.Unloaded(said.model()),
    "verified": lambda said, scene: ev.Verified(said.model(), present=True),
    "vanished": lambda said, scene: ev.Verified(said.model(), present=False),
    "evict": lambda said, scene: ev.EvictRequested(said.model()),
    "try-again": lambda said, scene: ev.TryAgain(said.model()),
    "hold-back": _hold_back,
    "server-down": lambda said, scene: ev.ServerDown(),
    "server-up": lambda said, scene: ev.ServerUp(),
    "budget": lambda said, scene: ev.BudgetChanged(whole(said.next("bytes"))),
    "withhold": _withhold,
    "recycle": lambda said, scene: ev.Recycle(),
    "files-left": lambda said, scene: ev.FilesLeft(said.model()),
}
