"""`python -m overbook.simulator`: options in, a table or JSON out. Only this part of the package reads the clock."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

import click
from rich.console import Console
from rich.progress import track
from rich.table import Table

from overbook.manifests.quantities import parse_bytes
from overbook.residency.replica import Limits
from overbook.simulator import compare, thrash, throughput, traces
from overbook.simulator.compare import CLAIRVOYANT
from overbook.simulator.policies import DEFAULT, POLICIES
from overbook.simulator.simulation import Delays, Result, Setting, Simulator


@click.group()
def bench() -> None:
    """Replay request traces through the residency core, in virtual time."""


class Bytes(click.ParamType[int]):
    """A Kubernetes quantity: 500Mi, 2Gi, 1e9."""

    name = "bytes"

    def convert(
        self, value: str | int, param: click.Parameter | None, ctx: click.Context | None
    ) -> int:
        if isinstance(value, int):
            return value
        try:
            size = parse_bytes(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
        if size <= 0:
            self.fail(f"'{value}': expected more than 0 bytes", param, ctx)
        return size


_SHAPE = traces.Shape()
_DELAYS = Delays()
_LIMITS = Limits()
_CROWD = thrash.Crowd()


@bench.command()
@click.option("--trace", type=click.Choice(sorted(traces.KINDS)), default=_SHAPE.kind)
@click.option("--models", default=_SHAPE.models, help="How many are registered.")
@click.option("--requests", default=_SHAPE.requests, help="How many are sent.")
@click.option("--alpha", default=_SHAPE.alpha, help="Skew of the popularity (Zipf); 0: all alike.")
@click.option(
    "--drift",
    default=_SHAPE.drift,
    help="Trace 'drift': swaps of popularity for every 100 requests.",
)
@click.option("--rate", default=_SHAPE.rate, help="Requests per second.")
@click.option("--mean-size", type=Bytes(), default=_SHAPE.mean_size, help="Mean size of a model.")
@click.option("--spread", default=_SHAPE.spread, help="Sigma of log-normal sizes; 0: all alike.")
@click.option("--seed", default=_SHAPE.seed, help="Equal seeds give equal results.")
@click.option("--fit", default=0.25, help="Budget as a share of the bytes of all models.")
@click.option("--budget", type=Bytes(), default=None, help="Budget in bytes, instead of --fit.")
@click.option("--loads", default=_LIMITS.concurrent_loads, help="Loads at the same time.")
@click.option(
    "--lookahead", default=_LIMITS.lookahead, help="Activations for which room is made ahead."
)
@click.option(
    "--load-base", default=_DELAYS.load_base, help="Seconds of a load, whatever the size."
)
@click.option("--load-speed", type=Bytes(), default=500 << 20, help="Bytes loaded per second.")
@click.option("--unload-time", default=_DELAYS.unload, help="Seconds of an unload.")
@click.option(
    "--drain-time", default=_DELAYS.withdraw, help="Seconds until the gateways took a route away."
)
@click.option("--policy", type=click.Choice(sorted(POLICIES)), default=DEFAULT)
@click.option("--headroom", default=_LIMITS.headroom, help="Typical loads that room is kept for.")
@click.option("--noise", default=0.0, help="Sigma of the log-normal noise on load times.")
@click.option("--inference-time", default=_DELAYS.inference, help="Seconds of a request.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
@click.pass_context
def simulate(context: click.Context, /, **_: object) -> None:
    """Replay one trace and report hit rates, evictions, added latency and the core's speed."""
    given = context.params
    try:
        shape = traces.Shape(
            kind=given["trace"],
            models=given["models"],
            requests=given["requests"],
            alpha=given["alpha"],
            rate=given["rate"],
            mean_size=given["mean_size"],
            spread=given["spread"],
            drift=given["drift"],
            seed=given["seed"],
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    budget = given["budget"]
    if budget is None:
        budget = max(1, int(given["fit"] * shape.mean_size * shape.models))
    sizes = traces.sizes(shape, budget)
    simulator = Simulator(
        _setting(context, budget),
        sizes,
        timer=time.perf_counter,  # one of the processor's time would cost more than an event
        order=POLICIES[given["policy"]](),
    )
    _watch(simulator.run(traces.requests(shape, sizes, budget)), shape.requests)
    measures = _measures(simulator.result, registered=sum(sizes), budget=budget)
    _print(measures, title=f"{shape.kind}, {shape.models} models", as_json=given["as_json"])


def _setting(context: click.Context, budget: int) -> Setting:
    given = context.params
    return Setting(
        budget=budget,
        limits=Limits(
            concurrent_loads=given["loads"],
            lookahead=given["lookahead"],
            headroom=given["headroom"],
        ),
        delays=Delays(
            load_base=given["load_base"],
            load_per_byte=1 / given["load_speed"],
            unload=given["unload_time"],
            withdraw=given["drain_time"],
            inference=given["inference_time"],
            noise=given["noise"],
        ),
    )


@bench.command("compare")
@click.option("--trace", "names", multiple=True, help="Only these; all when left out.")
@click.option("--policy", "policies", multiple=True, type=click.Choice([*POLICIES, CLAIRVOYANT]))
@click.option("--headroom", default=_LIMITS.headroom, help="Typical loads that room is kept for.")
@click.option("--requests", default=0, help="For each trace, instead of its own number.")
@click.option("--markdown", is_flag=True, help="As in docs/policies.md.")
def compare_policies(
    names: tuple[str, ...],
    policies: tuple[str, ...],
    headroom: float,
    requests: int,
    markdown: bool,
) -> None:
    """All policies on all traces: hits, added latency, and the share of LRU's gap that each closes."""
    unknown = set(names) - {case.name for case in compare.CASES}
    if unknown:
        known = ", ".join(case.name for case in compare.CASES)
        raise click.UsageError(f"trace '{unknown.pop()}': expected one of {known}")
    cases = [case for case in compare.CASES if not names or case.name in names]
    if requests:
        cases = [replace(case, shape=replace(case.shape, requests=requests)) for case in cases]
    # The first and the last are what the others are measured by.
    middle = [name for name in policies or POLICIES if name not in ("lru", CLAIRVOYANT)]
    chosen = ["lru", *middle, CLAIRVOYANT]
    table = _Rows(markdown)
    for rows in compare.compare(cases, chosen, Limits(headroom=headroom)):
        lru, best = rows[0], rows[-1]
        for row in rows:
            table.add(row, lru, best)
    table.end()


_WIDTH = 120


class _Rows:
    """A line at a time as Markdown, or one table at the end."""

    _HEAD = (
        "trace",
        "policy",
        "hits",
        "byte hits",
        "added, mean ms",
        "p99 ms",
        "against LRU",
        "of the gap",
        "of the gap to the bound",
    )

    def __init__(self, markdown: bool) -> None:
        self._markdown = markdown
        self._table = Table(*self._HEAD)
        if markdown:
            click.echo("| " + " | ".join(self._HEAD) + " |")
            click.echo("|---|---|" + "---:|" * (len(self._HEAD) - 2))

    def add(self, row: compare.Row, lru: compare.Row, best: compare.Row) -> None:
        cells = (
            row.case if row is lru else "",
            row.policy,
            f"{row.hit_rate:.3f}",
            f"{row.byte_hit_rate:.3f}",
            f"{1000 * row.added:.2f}",
            f"{1000 * row.added_p99:.0f}",
            f"{row.added / lru.added - 1:+.1%}",
            _share(compare.closed(row, lru, best.added)),
            _share(compare.closed(row, lru, row.bound)),
        )
        if self._markdown:
            click.echo("| " + " | ".join(cells) + " |")
        else:
            self._table.add_row(*cells)
        if row is best:
            self._add_bound(row)

    def _add_bound(self, row: compare.Row) -> None:
        cells = ("", "bound", "", "", f"{1000 * row.bound:.2f}", "", "", "", "")
        if self._markdown:
            click.echo("| " + " | ".join(cells) + " |")
        else:
            self._table.add_row(*cells, end_section=True)

    def end(self) -> None:
        if not self._markdown:
            # Where nobody looks rich takes 80 columns, and breaks every word.
            Console(width=max(Console().width, _WIDTH)).print(self._table)


@bench.command("thrash")
@click.option("--policy", "policies", multiple=True, type=click.Choice(sorted(POLICIES)))
@click.option("--clients", default=_CROWD.clients, help="Each waits for its answer.")
@click.option("--requests", default=_CROWD.requests, help="For each crowd.")
@click.option("--seed", default=_CROWD.seed, help="Equal seeds give equal results.")
@click.option("--headroom", default=_LIMITS.headroom, help="Typical loads that room is kept for.")
@click.option(
    "--lookahead", default=_LIMITS.lookahead, help="Activations for which room is made ahead."
)
def compare_thrash(
    policies: tuple[str, ...],
    clients: int,
    requests: int,
    seed: int,
    headroom: float,
    lookahead: int,
) -> None:
    """Clients in a closed loop, a tenth fits: the core beside the same server driven by hand. Markdown."""
    head = ("crowd", "driver", "answers/s", "mean ms", "p95 ms", "p99 ms", "worst ms", "hits")
    click.echo("| " + " | ".join(head) + " |")
    click.echo("|---|---|" + "---:|" * (len(head) - 2))
    crowds = [
        replace(crowd, clients=clients, requests=requests, seed=seed) for crowd in thrash.CROWDS
    ]
    limits = Limits(headroom=headroom, lookahead=lookahead)
    for row in thrash.compare(crowds, policies or ("lru", DEFAULT), limits):
        first = row.driver == thrash.BY_HAND
        times = (f"{1000 * each:.0f}" for each in (row.mean, row.p95, row.p99, row.worst))
        cells = (row.crowd if first else "", row.driver, f"{row.rate:.1f}", *times)
        click.echo("| " + " | ".join((*cells, f"{row.hit_rate:.3f}")) + " |")


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


@bench.command()
@click.option("--models", default=100_000, help="How many are registered.")
@click.option("--resident", default=1_000, help="How many of them fit.")
@click.option("--events", default=100_000, help="About how many events of each kind.")
@click.option("--policy", type=click.Choice(sorted(POLICIES)), default=DEFAULT)
@click.option("--seed", default=1)
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of a table.")
def core(models: int, resident: int, events: int, policy: str, seed: int, as_json: bool) -> None:
    """How many events per second the core takes in, by kind."""
    if not 0 < resident <= models:
        raise click.UsageError(f"--resident {resident}: expected 1 to {models}, the --models")
    rates = throughput.measure(
        models=models,
        resident=resident,
        events=events,
        seed=seed,
        timer=time.process_time,
        order=POLICIES[policy](),
    )
    measures = {f"{rate.name}, events/s": round(rate.per_second) for rate in rates}
    _print(measures, title=f"{models} models, {resident} fit", as_json=as_json)


def _watch(run: Iterator[int], total: int) -> None:
    """Run it, with a progress bar when somebody looks."""
    console = Console(stderr=True)
    if not console.is_terminal:
        for _ in run:
            pass
        return
    for _ in track(run, description="replaying", total=total, console=console):
        pass


def _measures(result: Result, *, registered: int, budget: int) -> dict[str, float]:
    return {
        "registered bytes": registered,
        "budget bytes": budget,
        "most bytes charged": result.most_charged,
        "requests": result.requests,
        "virtual seconds": round(result.virtual_seconds, 1),
        "hit rate": round(result.hit_rate, 4),
        "byte hit rate": round(result.byte_hit_rate, 4),
        "loads": result.loads,
        "evictions": result.evictions,
        "rejected": result.rejected,
        "added latency, mean, ms": round(1000 * result.mean_added(), 2),
        "added latency, p50, ms": round(1000 * result.added_percentile(50), 2),
        "added latency, p99, ms": round(1000 * result.added_percentile(99), 2),
        "core events": result.events,
        "core events/s": round(result.events_per_second),
    }


def _print(measures: Mapping[str, float], *, title: str, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({name.replace(", ", " "): value for name, value in measures.items()}))
        return
    table = Table("", "value", title=title)
    table.columns[1].justify = "right"
    for name, value in measures.items():
        table.add_row(name, f"{value:,}")
    Console().print(table)
