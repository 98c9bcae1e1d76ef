"""What Overbook charges models, against what they take: the truth comes from processes that hold nothing else."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import click

from bench.asking import WrongAnswer
from bench.documents import model_document, server_document
from bench.effort import Effort
from bench.errors import BenchFailed
from bench.findings import Line, Measured, Section, Target, single
from bench.instance import Instance, running, wait_registered
from bench.judgement import (
    AT_REST,
    SMALLEST,
    UNDER_LOAD,
    Charged,
    Column,
    Row,
    allowed_at_once,
    factors,
    farthest,
    off,
    table,
)
from bench.rounds import Look, Rounds, Tally
from bench.samples import Samples
from bench.stage import Stage
from bench.truth import Truth, truths
from bench.zoo import EXTRAS, Exhibit, Plan, make
from overbook.runtimes.install import install

_CLIENTS: Final = 16
_EACH: Final = 4
_LOOKED_AFTER: Final = (1, 3, 10)
_NONE: Final = Target(0)
_AT_ONCE: Final = Target(0.95, at_least=True)
_ROOM, _LARGEST_ROOM = 3, 1.3
PLANS: Final = (
    Plan("linear-small", "linear", 0.01),
    Plan("linear", "linear", 5),
    Plan("forest-1", "forest", 1.2),
    Plan("forest-3", "forest", 3),
    Plan("forest-9", "forest", 9.3),
    Plan("forest-15", "forest", 15.5),
    Plan("forest-30", "forest", 30),
    Plan("boosting", "boosting", 4),
    Plan("neighbours", "neighbours", 5),
    Plan("text-3", "text", 3),
    Plan("text-8", "text", 8),
    Plan("text-20", "text", 20),
    Plan("xgboost-small", "xgboost", 0.15),
    Plan("xgboost", "xgboost", 5),
    Plan("lightgbm-small", "lightgbm", 0.35),
    Plan("lightgbm", "lightgbm", 5),
    Plan("catboost", "catboost", 4),
    Plan("mlflow", "mlflow", 4),
    Plan("custom", "custom", 6),
    Plan("onnx-small", "onnx", 0.7),
    Plan("onnx", "onnx", 8),
    Plan("triton-onnx-2", "triton-onnx", 2),
    Plan("triton-onnx-16", "triton-onnx", 16),
    Plan("triton-saved-2", "triton-savedmodel", 2),
    Plan("triton-saved-16", "triton-savedmodel", 16),
    Plan("triton-python-5", "triton-python", 5),
    Plan("triton-python-25", "triton-python", 25),
)
# Ten of each, and so many of them fit.
_EQUAL: Final = {"forests of 9 MB": ("forest", 9.3), "forests of 15 MB": ("forest", 15.5)} | {
    "text pipelines of 8 MB": ("text", 8.0)
}
_EQUALS, _FIT = 10, 6.5
_EQUAL_ROUNDS, _EQUAL_EACH = 3, 2
_TOLD_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of all rounds with the models of all kinds."""

    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    tally: Tally


def run(stage: Stage, effort: Effort) -> Section:
    install("mlserver", lambda _message, _fraction: None, extras=frozenset(EXTRAS))
    exhibits = make(stage.folder("zoo"), PLANS)
    with running(stage.folder("up")) as instance:
        looked_after = _LOOKED_AFTER[:2] if effort.quick else _LOOKED_AFTER
        outcome = compare(instance, exhibits, looked_after, truths(exhibits))
    # For docs/memory.md.
    click.echo(table(outcome.rows, outcome.columns))
    for failure in outcome.tally.failures:
        click.echo(failure)
    lines = _lines(outcome)
    for what, (kind, megabytes) in _EQUAL.items():
        lines.append(_equal(stage, what, kind, megabytes))
    return Section(
        title="What models are charged, and what they take",
        how=(
            "The truth is what a fresh process of the server's environment holds more once it loaded the model and "
            "answered one request, collected and trimmed; a tiny model of the same kind was loaded before, and what "
            "is imported on the way does not count. On Triton it is the anonymous memory of the model's own process "
            f"in a Triton that was started for it alone. {len(PLANS)} models of every kind, nothing declared, room for "
            f"a third of their bytes; a round asks each {_EACH} times, {_CLIENTS} clients at once, REST and gRPC, "
            "and among that are bodies of 5 to 60 MB, some of them never finished. At rest a charge may be off by "
            "5 % and 256 KiB, under load by 10 % and 512 KiB (the worst of several looks); judged are models above "
            f"{SMALLEST // 1_000_000} MB."
        ),
        lines=tuple(lines),
        notes=tuple(outcome.tally.failures),
    )


def compare(
    instance: Instance,
    exhibits: Sequence[Exhibit],
    looked_after: Sequence[int],
    found: Mapping[str, Truth],
    *,
    each: int = _EACH,
) -> Outcome:
    """What is charged for every model after so many rounds, each of which asks it ``each`` times.

    ``found``: their truths.
    """
    truth = {name: one.asked for name, one in found.items()}
    _apply(instance, exhibits, truth)
    rows = tuple(
        Row(model.name, model.plan.kind, _file_bytes(model), one.asked, one.first)
        for model in exhibits
        for one in (found[model.name],)
    )
    columns, tally = asyncio.run(_rounds(instance, exhibits, truth, looked_after, each))
    return Outcome(rows, tuple(columns), tally)


def _apply(instance: Instance, exhibits: Sequence[Exhibit], truth: dict[str, int]) -> None:
    """Nothing is declared; each server has room for a third of its models, and for any of them."""
    documents = []
    for server, extras in (("mlserver", EXTRAS), ("triton", ())):
        its = [each for each in exhibits if each.plan.on_triton == (server == "triton")]
        if its:
            sizes = [truth[each.name] for each in its]
            memory = max(sum(sizes) // _ROOM, int(_LARGEST_ROOM * max(sizes)))
            documents.append(server_document(server, memory=memory, extras=extras))
    documents += [model_document(each.name, each.home, each.requirements) for each in exhibits]
    instance.apply(documents)
    wait_registered(instance, len(exhibits))


async def _rounds(
    instance: Instance,
    exhibits: Sequence[Exhibit],
    truth: dict[str, int],
    looked_after: Sequence[int],
    each: int,
) -> tuple[list[Column], Tally]:
    rest, load = [], []
    ports = instance.port, instance.api_port
    rounds = Rounds(*ports, exhibits, clients=_CLIENTS, each=each, large=True)
    try:
        for number in range(1, max(looked_after) + 1):
            await rounds.round(seed=number)
            if number not in looked_after:
                continue
            # Once more, as every model was asked so often before the first look.
            looks = await rounds.round_watched(seed=1000 + number)
            times = f"{number} round{'s' if number > 1 else ''}"
            load.append(Column(f"under load, {times}", UNDER_LOAD, _worst(looks, truth)))
            rest.append(Column(f"at rest, {times}", AT_REST, _all(await rounds.at_rest())))
    finally:
        await rounds.close()
    return [*rest, *load], rounds.tally


def _all(look: Look) -> dict[str, Charged]:
    return {name: Charged(each.bytes, each.charged is not None) for name, each in look.items()}


def _worst(looks: Sequence[Look], truth: dict[str, int]) -> dict[str, Charged]:
    """Of what was charged while models were in memory."""
    seen: dict[str, list[Charged]] = defaultdict(list)
    for look in looks:
        for name, each in look.items():
            if each.charged is not None:
                seen[name].append(Charged(each.charged, True))
    return {name: farthest(every, truth[name]) for name, every in seen.items()}


def _file_bytes(exhibit: Exhibit) -> int:
    return sum(path.stat().st_size for path in exhibit.home.rglob("*") if path.is_file())


def _lines(outcome: Outcome) -> list[Line]:
    lines = []
    for column in outcome.columns:
        wrong = len(off(outcome.rows, column))
        known = factors(outcome.rows, column)
        lines.append(
            Line(
                f"{column.title}: models charged off the truth",
                (Measured("charged by truth", Samples.of(known), "×"),),
                Samples.of([wrong]),
                f"of {sum(row.judged for row in outcome.rows)}",
                _NONE,
            )
        )
    asked = outcome.tally.answered + outcome.tally.failed
    failed = Samples.of([outcome.tally.failed])
    return [*lines, single(f"requests that failed, of {asked}", failed, "", _NONE)]


# -- as many as fit


def _equal(stage: Stage, what: str, kind: str, megabytes: float) -> Line:
    exhibits = equals(stage, kind, megabytes)
    sizes = [each.asked for each in truths(exhibits).values()]
    budget = int(_FIT * sum(sizes) / len(sizes))
    with running(stage.folder("up")) as instance:
        most = most_at_once(instance, exhibits, budget)
    allowed = allowed_at_once(sizes, budget)
    return Line(
        f"ten {what} in {budget / 1e6:.0f} MB: in memory at once",
        (
            Measured("by truth", Samples.of([allowed]), ""),
            Measured("Overbook", Samples.of([most]), ""),
        ),
        # More than fit is no better than less.
        Samples.of([min(most, allowed) / max(most, allowed)]),
        "×",
        _AT_ONCE,
    )


def equals(stage: Stage, kind: str, megabytes: float) -> list[Exhibit]:
    """Ten different models of about one size."""
    plans = [Plan(f"{kind}-{n}", kind, megabytes, seed=n) for n in range(1, _EQUALS + 1)]
    return make(stage.folder("equal"), plans)


def most_at_once(instance: Instance, exhibits: Sequence[Exhibit], budget: int) -> int:
    """How many are in memory at the same time, on a server with a budget of so many bytes. Raises BenchFailed."""
    documents = [model_document(each.name, each.home, each.requirements) for each in exhibits]
    instance.apply([server_document("mlserver", memory=budget), *documents])
    wait_registered(instance, len(exhibits))
    return asyncio.run(_most_at_once(instance, exhibits))


async def _most_at_once(instance: Instance, exhibits: Sequence[Exhibit]) -> int:
    """Each is asked for again, one after the other, when all of them were; the most that were there after any."""
    ports = instance.port, instance.api_port
    rounds = Rounds(*ports, exhibits, clients=_CLIENTS, each=_EQUAL_EACH, large=False)
    most = 0
    try:
        for number in range(_EQUAL_ROUNDS):
            await rounds.round(seed=number)
        await rounds.at_rest()
        for exhibit in exhibits:
            await rounds.ask(exhibit)
            # A load's charge falls to what was measured once it ended, and the agent tells of both a little later.
            await asyncio.sleep(_TOLD_SECONDS)
            look = await rounds.look()
            most = max(most, sum(each.charged is not None for each in look.values()))
    except WrongAnswer as error:
        raise BenchFailed(str(error)) from None
    finally:
        await rounds.close()
    return most
