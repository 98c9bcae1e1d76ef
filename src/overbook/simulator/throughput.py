"""How many events per second the core takes in, by kind of event, with very many models known."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from overbook.residency import effects as fx
from overbook.residency import events as ev
from overbook.residency.core import Core
from overbook.residency.events import Event, ModelName, RequestId
from overbook.residency.policy import EvictionOrder
from overbook.residency.states import State

# Virtual seconds between two events; enough that whoever was used before is certainly idle.
_STEP = 1.0


@dataclass(frozen=True, slots=True)
class Rate:
    """``events`` of one kind took ``seconds``."""

    name: str
    events: int
    seconds: float

    @property
    def per_second(self) -> float:
        return self.events / self.seconds


class _Replica:
    """A core whose effects are performed at once.

    Each batch is timed as a whole, what performs the effects included: a timer may cost more than an event.
    """

    def __init__(self, budget: int, timer: Callable[[], float], order: EvictionOrder) -> None:
        self._core = Core(budget=budget, order=order)
        self._timer = timer
        self._now = 0.0
        self.events = 0

    def is_resident(self, model: ModelName) -> bool:
        return self._core.entries[model].state is State.RESIDENT

    def feed(self, event: Event) -> None:
        queue = [event]
        while queue:
            self._now += _STEP
            effects = self._core.handle(queue.pop(), self._now)
            self._core.next_wakeup()
            self.events += 1
            for effect in effects:
                match effect:
                    case fx.Load(model):
                        queue.append(ev.LoadSucceeded(model))
                    case fx.Grant(request):
                        queue.append(ev.Passed(request))
                    case fx.Withdraw(model, ticket):
                        queue.append(ev.Withdrawn(model, ticket))
                    case fx.Settle(model, ticket):
                        queue.append(ev.Drained(model, ticket))
                    case fx.Unload(model):
                        queue.append(ev.Unloaded(model))
                    case _:
                        pass

    def measure(self, name: str, events: Iterable[Event]) -> Rate:
        batch = list(events)
        self.events = 0
        began = self._timer()
        for event in batch:
            self.feed(event)
        return Rate(name, self.events, self._timer() - began)


def measure(
    *,
    models: int,
    resident: int,
    events: int,
    seed: int,
    timer: Callable[[], float],
    order: EvictionOrder,
) -> list[Rate]:
    """Equal models of one byte, of which ``resident`` fit. About ``events`` events of each kind."""
    chance = random.Random(seed)
    replica = _Replica(resident, timer, order)
    names = [ModelName(f"m{place}") for place in range(models)]
    hot = names[:resident]
    replica.feed(ev.ServerUp())
    rates = [replica.measure("register", (ev.Register(name, 1, 1, warm=False) for name in names))]
    for serial, name in enumerate(hot):
        replica.feed(ev.RequestArrived(RequestId(serial), name, float("inf")))
    rates.append(
        replica.measure(
            "usage report",
            (ev.UsageSeen(chance.choice(hot), 0, place * _STEP) for place in range(events)),
        )
    )
    # Each of these is two events: request, passed.
    rates.append(
        replica.measure(
            "request for a resident model",
            (
                ev.RequestArrived(RequestId(resident + serial), chance.choice(hot), float("inf"))
                for serial in range(events // 2)
            ),
        )
    )
    # Each of these is six events: request, withdrawn, drained, unloaded, loaded, passed.
    rates.append(
        replica.measure(
            "activation that evicts",
            (
                ev.RequestArrived(RequestId(-serial - 1), chance.choice(names), float("inf"))
                for serial in range(events // 6)
            ),
        )
    )
    rates.append(
        replica.measure(
            "budget change",
            (ev.BudgetChanged(resident - place % 2) for place in range(max(2, events // 20))),
        )
    )
    replica.feed(ev.BudgetChanged(resident))
    rates.append(_while_requests_wait(replica, names, resident, events))
    return rates


def _while_requests_wait(
    replica: _Replica, names: list[ModelName], resident: int, events: int
) -> Rate:
    """Every resident is in use and hundreds of cold models are asked for: nothing can move, and that is cheap."""
    busy = [name for name in names if replica.is_resident(name)]
    for name in busy:
        replica.feed(ev.UsageSeen(name, 1, 0.0))
    for serial, name in enumerate(names[-resident:]):
        replica.feed(ev.RequestArrived(RequestId(-events - serial), name, float("inf")))
    return replica.measure(
        "usage report while requests wait",
        (ev.UsageSeen(busy[place % len(busy)], 1 + place % 2, 0.0) for place in range(events)),
    )
