"""`python -m bench`: options in, progress and a table out, and the page docs/benchmarks.md."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.table import Table

from bench import host, report
from bench.cases import (
    activation,
    fetch,
    hot_path,
    hot_tail,
    idle,
    mlserver,
    overcommit,
    parity,
    registered,
    thrash,
    tokens,
    triton,
    truth,
)
from bench.effort import Effort
from bench.errors import BenchFailed
from bench.findings import Section, Verdict
from bench.report import Ran, Run
from bench.stage import Stage
from overbook.client.errors import ClientError

_PAGE: Final = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"
_ROUNDS: Final = 5
# In this order: the first must have the machine to itself, the last looks at what the others started.
_CASES: Final[dict[str, Callable[[Stage, Effort], Section]]] = {
    "hot-path": hot_path.run,
    "tokens": tokens.run,
    "mlserver": mlserver.run,
    "activation": activation.run,
    "overcommit": overcommit.run,
    "hot-tail": hot_tail.run,
    "triton": triton.run,
    "parity": parity.run,
    "fetch": fetch.run,
    "registered": registered.run,
    "truth": truth.run,
    "thrash": thrash.run,
    "idle": idle.run,
}


@click.command()
@click.option("--only", type=click.Choice(list(_CASES)), multiple=True, help="Run only these.")
@click.option(
    "--rounds",
    type=click.IntRange(min=1),
    default=_ROUNDS,
    show_default=True,
    help="Turns of each contestant.",
)
@click.option("--quick", is_flag=True, help="A look in less time; too few samples to judge by.")
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write the page; a whole run writes docs/benchmarks.md, others nothing.",
)
@click.pass_context
def main(
    context: click.Context, only: tuple[str, ...], rounds: int, quick: bool, output: Path | None
) -> None:
    """Measure Overbook against what it can be compared with, by turns, in one run."""
    console = Console()
    effort = Effort(rounds=rounds, quick=quick)
    chosen = [name for name in _CASES if not only or name in only]
    try:
        ran = _run(chosen, effort, console)
    except (BenchFailed, ClientError) as error:
        click.echo(f"Error: {error}", err=True)
        context.exit(1)
    _summary(console, ran)
    if output is None and not only and not quick:
        output = _PAGE
    if output is not None:
        kept = report.by_hand(output.read_text()) if output.exists() else ""
        output.write_text(report.markdown(_whole(ran, effort), kept))
        console.print(f"written: {output}", highlight=False)


def _run(chosen: list[str], effort: Effort, console: Console) -> list[Ran]:
    ran = []
    with Stage() as stage:
        for number, name in enumerate(chosen, 1):
            console.print(f"[bold]{number}/{len(chosen)} {name}[/bold] …", highlight=False)
            load, began = host.load_average(), time.monotonic()
            section = _CASES[name](stage, effort)
            took = time.monotonic() - began
            ran.append(Ran(section, load, host.load_average(), took))
            _table(console, section)
            console.print(f"  {took:.0f} s\n", highlight=False)
    return ran


def _table(console: Console, section: Section) -> None:
    table = Table("what", "measured", "figure", "target", "verdict", title=section.title)
    for *cells, verdict in report.rows(section):
        style = {Verdict.MET.value: "green", Verdict.NOT_MET.value: "red"}.get(verdict, "")
        table.add_row(*cells, f"[{style}]{verdict}[/{style}]" if style else "")
    console.print(table, highlight=False)


def _summary(console: Console, ran: list[Ran]) -> None:
    lost = report.missed([each.section for each in ran])
    if lost:
        console.print("[red]targets NOT met:[/red]")
        for each in lost:
            console.print(f"  {each}", highlight=False, markup=False)
    else:
        console.print("[green]all targets met[/green]")


def _whole(ran: list[Ran], effort: Effort) -> Run:
    rounds = "" if effort.rounds == _ROUNDS else f" --rounds {effort.rounds}"
    quick = " --quick" if effort.quick else ""
    return Run(
        machine=host.machine(),
        command=f"python -m bench{rounds}{quick}",
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        sections=tuple(ran),
    )
