"""Pure: how the demo looks. The live table, its line where there is no terminal, and the summary.

Values in, rich renderables and text out. The live table fits 80 columns and 24 rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from overbook.demo.cases import DemoModel
from overbook.demo.observed import ModelState, Observed, ServerState
from overbook.demo.tally import Traffic

BUSIEST_SHOWN: Final = 9
WIDTH: Final = 78
_BAR_CELLS: Final = 30
_STATE_STYLES: Final = {"resident": "green", "cold": "blue", "failed": "red"}


@dataclass(frozen=True, slots=True)
class View:
    """All that is shown. `needed`: bytes of all models; `rate`: requests a second now."""

    models: Mapping[str, DemoModel]
    needed: int
    elapsed: float
    seconds: float
    rate: float
    traffic: Traffic
    seen: Observed


def frame(view: View) -> RenderableType:
    """The live table."""
    title = Text(no_wrap=True)
    title.append("Overbook demo", style="bold")
    title.append(f"   {len(view.models)} models need {mib(view.needed)}, ")
    title.append(f"memory for {mib(view.seen.budget)}", style="bold")
    title.append(f"   {view.elapsed:3.0f} of {view.seconds:.0f} s")
    return Group(title, Text(), _figures(view), Text(), _busiest(view))


def _figures(view: View) -> Table:
    traffic, seen = view.traffic, view.seen
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", width=12)
    table.add_column(width=WIDTH - 16, no_wrap=True)
    split = f"REST {traffic.rest:,}   gRPC {traffic.grpc:,}   {view.rate:.0f}/s"
    table.add_row("requests", _parts((f"{traffic.requests:,}", "bold"), (f"   {split}", "")))
    table.add_row("errors", _alarm(traffic.errors, "none"))
    table.add_row("answers", _alarm(traffic.wrong, "every one equal to the model's own prediction"))
    table.add_row("latency", _latency(traffic))
    table.add_row("hit rate", _percent(seen.hit_rate))
    table.add_row("resident", f"{seen.resident_models} of {len(view.models)} models")
    for name, server in seen.servers.items():
        table.add_row(name, _memory(server))
    table.add_row("activations", _activations(seen))
    table.add_row("evictions", f"{seen.evictions:,}")
    return table


def _busiest(view: View) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("customer's model", no_wrap=True, min_width=18)
    table.add_column("kind", no_wrap=True, min_width=14)
    table.add_column("size", justify="right", no_wrap=True, min_width=7)
    table.add_column("state", no_wrap=True, min_width=9)
    for header in ("requests", "loads"):
        table.add_column(header, justify="right", min_width=8)
    for name, requests in view.traffic.by_model.most_common(BUSIEST_SHOWN):
        state = view.seen.models.get(name, ModelState(state="", bytes=0, loads=0, evictions=0))
        model = view.models[name]
        table.add_row(
            name,
            model.kind,
            mib(model.bytes),
            Text(state.state, style=_STATE_STYLES.get(state.state, "yellow")),
            f"{requests:,}",
            f"{state.loads:,}",
        )
    return table


def plain_line(view: View) -> str:
    """One line for logs and pipes."""
    traffic, seen = view.traffic, view.seen
    return (
        f"{view.elapsed:4.0f} s  {traffic.requests} requests ({view.rate:.0f}/s), "
        f"{traffic.errors} errors, {traffic.wrong} wrong, hit rate {_percent(seen.hit_rate)}, "
        f"{seen.resident_models} of {len(view.models)} resident, "
        f"{_used(seen)}, {seen.evictions} evictions, "
        f"activation p50 {seconds_text(seen.activation_p50)} p99 {seconds_text(seen.activation_p99)}"
    )


def summary(view: View) -> RenderableType:
    """The table at the end."""
    traffic, seen = view.traffic, view.seen
    table = Table(title="Summary", title_justify="left", show_header=False, min_width=60)
    table.add_column(style="dim")
    table.add_column()
    for label, value in _summary_rows(view):
        table.add_row(label, value)
    over = view.needed / seen.budget if seen.budget else 0.0
    verdict = Text(f"Served {over:.1f} times more than fits in memory", style="bold")
    verdict.append(
        ", and no request noticed." if not traffic.failed else ", but not without failures."
    )
    return Group(table, verdict)


def _summary_rows(view: View) -> Sequence[tuple[str, RenderableType]]:
    traffic, seen = view.traffic, view.seen
    per_second = traffic.requests / view.elapsed if view.elapsed else 0.0
    split = f"{traffic.requests:,} (REST {traffic.rest:,}, gRPC {traffic.grpc:,})"
    return (
        ("requests", f"{split}, {per_second:.0f}/s"),
        ("errors", _alarm(traffic.errors, "0")),
        ("wrong answers", _alarm(traffic.wrong, "0, each was compared with the prediction")),
        ("hit rate", _percent(seen.hit_rate)),
        ("latency, all", _quantiles(traffic.all.quantile(0.5), traffic.all.quantile(0.99))),
        (
            "latency, model just used",
            _quantiles(traffic.again.quantile(0.5), traffic.again.quantile(0.99)),
        ),
        ("activation", _quantiles(seen.activation_p50, seen.activation_p99)),
        ("activations, evictions", f"{seen.activations:,.0f}, {seen.evictions:,}"),
        ("models", f"{len(view.models)}, {mib(view.needed)} in all"),
        *(
            (f"budget of {name}", f"{mib(server.budget)}, most used {mib(server.most)}")
            for name, server in seen.servers.items()
        ),
    )


def seconds_text(seconds: float | None) -> str:
    """A latency with two significant digits or so; a dash when there is none."""
    if seconds is None:
        return "-"
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.01 else f"{seconds * 1000:.1f} ms"


def _latency(traffic: Traffic) -> str:
    everything = _quantiles(traffic.all.quantile(0.5), traffic.all.quantile(0.99))
    again = _quantiles(traffic.again.quantile(0.5), traffic.again.quantile(0.99))
    return f"{everything}   repeats {again}"


def _quantiles(p50: float | None, p99: float | None) -> str:
    return f"p50 {seconds_text(p50)}, p99 {seconds_text(p99)}"


def _activations(seen: Observed) -> str:
    return f"{seen.activations:,.0f}   {_quantiles(seen.activation_p50, seen.activation_p99)}"


def _used(seen: Observed) -> str:
    return ", ".join(
        f"{name} {mib(server.resident)} of {mib(server.budget)}"
        for name, server in seen.servers.items()
    )


def _memory(server: ServerState) -> Text:
    share = min(1.0, server.resident / server.budget) if server.budget else 0.0
    filled = round(share * _BAR_CELLS)
    return _parts(
        ("█" * filled, "green"),
        ("░" * (_BAR_CELLS - filled), "dim"),
        (f" {mib(server.resident)}", "bold"),
        (f" of {mib(server.budget)}", ""),
    )


def _alarm(count: int, good: str) -> Text:
    return Text(f"{count:,}", style="bold red") if count else Text(good, style="green")


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def _parts(*parts: tuple[str, str]) -> Text:
    text = Text(no_wrap=True)
    for content, style in parts:
        text.append(content, style=style)
    return text


def mib(count: int) -> str:
    """Bytes in whole MiB: close enough here, and of one width."""
    return f"{count / 2**20:,.0f}MiB"
