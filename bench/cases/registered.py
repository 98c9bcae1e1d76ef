"""What ten thousand registered models cost: applying them, memory, a cold start, activation."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import yaml

from bench.coldness import Cold, take_apart
from bench.effort import Effort
from bench.findings import Line, Measured, Section, Target, single
from bench.instance import Instance, running, wait_registered
from bench.processes import memory_bytes
from bench.samples import Samples
from bench.stage import Fleet, FleetPlan, Stage, manifests, models
from overbook.client.http import JsonObject

HOT: Final = 50
MANY: Final = FleetPlan(registered=10_000, hot=HOT)
FEW: Final = FleetPlan(registered=100, hot=HOT)
_MB: Final = 1e6
_ENVOY: Final = "envoy"


@dataclass(slots=True)
class _Found:
    """Of the rounds: models per second, and seconds."""

    command_rate: list[float] = field(default_factory=list)
    api_rate: list[float] = field(default_factory=list)
    until_ready: list[float] = field(default_factory=list)
    start: list[float] = field(default_factory=list)
    answer: list[float] = field(default_factory=list)


def run(stage: Stage, effort: Effort) -> Section:
    rounds = 1 if effort.quick else 2
    homes = models(stage.folder("artifacts"), MANY.registered)
    documents = manifests(MANY, homes)
    file = stage.folder("manifests").with_suffix(".yaml")
    file.write_text(yaml.dump_all(documents, Dumper=yaml.CSafeDumper))
    found = _Found()
    for _ in range(rounds):
        with running(stage.folder("up")) as instance:
            _by_api(instance, documents, found)
    for _ in range(rounds - 1):
        with running(stage.folder("up")) as instance:
            _by_command(instance, file, found)
    fleet = _kept(stage, homes, file, found)
    memory = [_memory_line("after all were applied and became ready", fleet.instance)]
    for _ in range(rounds):
        _restart(fleet, found)
    memory.append(_memory_line("after a cold start", fleet.instance))
    fleet.fill()
    new = take_apart(fleet, fleet.cold, effort.samples)
    many, few = _by_turns((fleet, stage.fleet(FEW)), effort)
    return Section(
        title=f"{MANY.registered:,} registered models",
        how=(
            f"Small scikit-learn models, each with a file of its own; {HOT} fit in memory. Applied "
            "with `overbook apply -f` of one file (the whole life of the command) and over the control "
            "API (500 at a time). Memory is the proportional set size. A cold start is from the "
            "start of `overbook up` until `/readyz` says yes and a (cold) model has answered. Activations "
            f"are of {FEW.registered} models in both, each loaded before: the first load of an artifact "
            "takes longer (docs/adr/0004) and has a line of its own."
        ),
        lines=(*_apply_lines(found), *memory, *_activation_lines(many, few, new)),
        notes=(
            "From the end of `apply` until all are ready, their artifacts copied and checked: "
            f"{Samples.of(found.until_ready).median:.1f} s.",
        ),
    )


def _by_api(instance: Instance, documents: list[JsonObject], found: _Found) -> None:
    found.api_rate.append(len(documents) / instance.apply(documents))


def _by_command(instance: Instance, file: Path, found: _Found) -> None:
    seconds = instance.command("apply", "-f", str(file))
    found.command_rate.append(MANY.registered / seconds)


def _kept(stage: Stage, homes: dict[str, Path], file: Path, found: _Found) -> Fleet:
    """An Overbook with all the models, for this benchmark and those that follow."""
    fleet = Fleet(Instance(stage.folder("up")), MANY, homes)
    stage.adopt(fleet)
    fleet.instance.start()
    fleet.instance.wait_ready()
    _by_command(fleet.instance, file, found)
    began = time.perf_counter()
    wait_registered(fleet.instance, MANY.registered)
    found.until_ready.append(time.perf_counter() - began)
    return fleet


def _restart(fleet: Fleet, found: _Found) -> None:
    fleet.instance.stop()
    began = time.perf_counter()
    fleet.instance.start()
    fleet.instance.wait_ready()
    found.start.append(time.perf_counter() - began)
    fleet.ask(fleet.cold())
    found.answer.append(time.perf_counter() - began)
    wait_registered(fleet.instance, MANY.registered)


def _by_turns(fleets: tuple[Fleet, Fleet], effort: Effort) -> tuple[Cold, Cold]:
    """A cold request to one fleet, one to the other, and so on."""
    turns: tuple[list[Cold], list[Cold]] = ([], [])
    known = [_loaded_before(fleet) for fleet in fleets]
    for _ in range(effort.rounds):
        for fleet, loaded, mine in zip(fleets, known, turns, strict=True):
            choose = partial(fleet.cold, loaded)
            mine.append(take_apart(fleet, choose, effort.samples // effort.rounds))
    return _joined(turns[0]), _joined(turns[1])


def _loaded_before(fleet: Fleet) -> frozenset[str]:
    """As many models as the smaller fleet has, each of which was loaded at least once."""
    chosen = list(fleet.homes)[: FEW.registered]
    for model in chosen:
        fleet.ask(model)
    return frozenset(chosen)


def _joined(parts: list[Cold]) -> Cold:
    def all_of(pick: Callable[[Cold], Samples]) -> Samples:
        return Samples.of([value for part in parts for value in pick(part).values])

    return Cold(
        cold=all_of(lambda part: part.cold),
        hot=all_of(lambda part: part.hot),
        load=all_of(lambda part: part.load),
        agent_load=all_of(lambda part: part.agent_load),
    )


def _apply_lines(found: _Found) -> list[Line]:
    rate = Target(500, at_least=True)
    return [
        single("apply, `overbook apply -f`", Samples.of(found.command_rate), "models/s", rate),
        single("apply, control API", Samples.of(found.api_rate), "models/s", rate),
        single("cold start until ready", Samples.of(found.start), "s"),
        single("cold start until a model answers", Samples.of(found.answer), "s", Target(15)),
    ]


def _memory_line(when: str, instance: Instance) -> Line:
    processes = instance.own_processes()
    envoys = [each for each in processes if _ENVOY in each.name()]
    envoy, own = memory_bytes(envoys) / _MB, memory_bytes(processes) / _MB
    parts = (
        Measured("scheduler, gateway and agent (one process)", Samples.of([own - envoy]), "MB"),
        Measured("Envoy", Samples.of([envoy]), "MB"),
    )
    return Line(f"memory {when}, without MLServer", parts, Samples.of([own]), "MB", Target(400))


def _activation_lines(many: Cold, few: Cold, new: Cold) -> list[Line]:
    contestants = (
        Measured(f"{FEW.registered} registered", few.cold, "ms"),
        Measured(f"{MANY.registered:,} registered", many.cold, "ms"),
    )
    whole = Samples.of([many.cold.median / few.cold.median])
    beyond = (
        Measured(f"{FEW.registered} registered", few.beyond, "ms"),
        Measured(f"{MANY.registered:,} registered", many.beyond, "ms"),
    )
    added = Samples.of([many.beyond.median / few.beyond.median])
    return [
        Line("activation with a victim: cold request, p50", contestants, whole, "×", Target(1.5)),
        Line("activation with a victim: beyond the load call, p50", beyond, added, "×"),
        single("the same, first load of the artifact: cold request, p50", new.cold, "ms"),
    ]
