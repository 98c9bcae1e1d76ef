"""What the core said, in words: an effect is a line, and the whole replica is one."""

from __future__ import annotations

import math
from collections.abc import Callable

from overbook.residency import effects as fx
from overbook.residency.core import Core
from overbook.residency.effects import Effect
from overbook.residency.entry import Entry
from overbook.residency.events import ModelName, RequestId
from overbook.residency.states import CHARGED


def effect(said: Effect, name: Callable[[RequestId], str]) -> str:
    """``name``: how the story calls a request."""
    match said:
        case fx.Grant(request):
            return f"grant {name(request)}"
        case fx.Reject(request, refusal, reason, after):
            again = f", retry after {after:g} s" if after else ""
            return f"reject {name(request)} ({refusal.value}){again}: {reason}"
        case fx.Load(model, generation, reload):
            return f"load {model}, generation {generation}" + reload * ", beside the old copy"
        case fx.Withdraw(model, ticket, cause):
            return f"withdraw {model} ({cause.value}), ticket {ticket}"
        case fx.Settle(model, ticket):
            return f"settle {model}, ticket {ticket}"
        case fx.Evicted(model, cause):
            return f"evicted {model} ({cause.value})"
        case fx.Publish(model):
            return f"publish {model}"
        case fx.Unload(model):
            return f"unload {model}"
        case fx.Verify(model):
            return f"verify {model}"
        case fx.Forgotten(model):
            return f"forgotten {model}"


def table(core: Core) -> str:
    """All models and the ledger, in one line. Models of which the same is to be said share it."""
    models: dict[str, list[ModelName]] = {}
    for model, entry in core.entries.items():
        waiting = core._replica.waiting.waiting_for(model)
        models.setdefault(_model(entry, core.ledger.of(model), waiting), []).append(model)
    cells = (f"{' '.join(names)}: {words}" for words, names in models.items())
    return " | ".join((*cells, _ledger(core)))


def _model(entry: Entry, charge: int, waiting: int) -> str:
    charged = f" {charge}" if entry.state in CHARGED else ""
    counts = {"in flight": entry.in_flight, "granted": entry.granted, "waiting": waiting}
    shown = (f", {count} {what}" for what, count in counts.items() if count)
    return f"{entry.state.value}{charged}{''.join(shown)}"


def _ledger(core: Core) -> str:
    ledger = core.ledger
    more = {"withheld": ledger.withheld, "overdrawn": core.overdrawn}
    shown = (f", {size} {what}" for what, size in more.items() if size)
    return f"{ledger.total} of {ledger.budget} charged{''.join(shown)}"


def described(core: Core, model: ModelName, now: float) -> list[str]:
    """What is known of one model beyond the table."""
    entry = core.entries[model]
    loaded = f", loaded {entry.loaded_generation}" if entry.state in CHARGED else ""
    used = "never" if entry.last_used == -math.inf else f"{now - entry.last_used:g} s ago"
    lines = [
        f"size {entry.size}, generation {entry.generation}{loaded}, last used {used}, "
        f"loads {entry.loads}, evictions {entry.evictions}"
    ]
    if entry.given_up:
        lines.append("given up")
    elif entry.retry_at > now:
        lines.append(f"next try in {entry.retry_at - now:g} s")
    if entry.reason:
        lines.append(f"reason: {entry.reason}")
    return lines


def statistics(core: Core) -> str:
    return ", ".join(f"{name} {value}" for name, value in core.statistics()._asdict().items())
