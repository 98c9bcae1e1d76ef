"""Pure: findings as a page of Markdown and as rows for the terminal. Writes nothing.

The page ends with a section that people write; a new page takes it over from the old one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.findings import Line, Measured, Section, Target, Verdict
from bench.samples import Samples

_HEAD = """# Benchmarks

Written by `{command}` on {date}; `make bench` writes it anew, all but the last section. Do not edit the rest by hand.

Numbers of two machines cannot be compared, ratios of one run can: contestants take turns, so that what
disturbs one disturbs the other. Shown are medians, with the lowest and the highest in brackets; a ratio
is the median of the ratios of the rounds. A target that is not met says so.
"""

_BY_HAND: Final = "\n## Measured for decisions\n"


@dataclass(frozen=True, slots=True)
class Machine:
    """Where it ran, as far as it matters for the numbers. ``niceness``: 0 is an ordinary process."""

    processor: str
    cores: int
    memory_bytes: int
    kernel: str
    niceness: int


@dataclass(frozen=True, slots=True)
class Ran:
    """A section and the load average of the last minute before and after its benchmark."""

    section: Section
    load_before: float
    load_after: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the whole. ``date``: an ISO day."""

    machine: Machine
    command: str
    date: str
    sections: tuple[Ran, ...]


def number(value: float) -> str:
    """At least three digits, no more decimals than that takes."""
    size = abs(value)
    if size >= 1000:
        return f"{value:,.0f}"
    decimals = 0 if size >= 100 else 1 if size >= 10 else 2
    return f"{value:.{decimals}f}"


def spread(samples: Samples, unit: str) -> str:
    """`12.0 ms (11.0–14.0)`; a single value stands alone."""
    middle = f"{number(samples.median)} {unit}".rstrip()
    if len(samples.values) == 1:
        return middle
    return f"{middle} ({number(samples.low)}–{number(samples.high)})"


def promised(target: Target | None, unit: str) -> str:
    if target is None:
        return ""
    return f"{'≥' if target.at_least else '≤'} {number(target.limit)} {unit}".rstrip()


def rows(section: Section) -> list[tuple[str, str, str, str, str]]:
    """What, measured, figure, target, verdict: for the terminal and for the page."""
    return [
        (
            line.what,
            "; ".join(map(_contestant, line.contestants)),
            _figure(line),
            promised(line.target, line.figure_unit),
            line.verdict.value,
        )
        for line in section.lines
    ]


def _contestant(measured: Measured) -> str:
    return f"{measured.name} {spread(measured.samples, measured.unit)}"


def _figure(line: Line) -> str:
    """The figure, unless it is just what was measured."""
    if len(line.contestants) == 1 and line.contestants[0].samples == line.figure:
        return number(line.figure.median) + f" {line.figure_unit}".rstrip()
    return spread(line.figure, line.figure_unit)


def missed(sections: Sequence[Section]) -> list[str]:
    """The lines whose targets are not met."""
    return [
        f"{section.title}: {line.what}"
        for section in sections
        for line in section.lines
        if line.verdict is Verdict.NOT_MET
    ]


def by_hand(page: str) -> str:
    """The last section of an earlier page, with its heading; "" where there is none."""
    _, heading, text = page.partition(_BY_HAND)
    return f"{heading}{text}".lstrip()


def markdown(run: Run, kept: str) -> str:
    """The whole page. ``kept``: the section by hand."""
    parts = [_HEAD.format(command=run.command, date=run.date), _machine(run.machine)]
    parts.append(_summary([ran.section for ran in run.sections]))
    parts.extend(map(_section, run.sections))
    if kept:
        parts.append(kept)
    return "\n".join(parts)


def _machine(machine: Machine) -> str:
    memory = machine.memory_bytes / 2**30
    shared = (
        f" Everything ran at niceness {machine.niceness}, as others used the machine at the same time."
        if machine.niceness
        else ""
    )
    return (
        f"Machine: {machine.cores} cores ({machine.processor}), {memory:.1f} GiB of memory, "
        f"Linux {machine.kernel}.{shared}\n"
    )


def _summary(sections: Sequence[Section]) -> str:
    judged = [
        line for section in sections for line in section.lines if line.verdict != Verdict.NO_TARGET
    ]
    lost = missed(sections)
    text = f"Targets: {len(judged) - len(lost)} of {len(judged)} met."
    if lost:
        text += " Not met:\n\n" + "\n".join(f"- {each}" for each in lost)
    return text + "\n"


def _section(ran: Ran) -> str:
    section = ran.section
    out = [f"## {section.title}\n", f"{section.how}\n"]
    out += ["| what | measured | figure | target | verdict |", "|---|---|---|---|---|"]
    out += [f"| {' | '.join(row)} |" for row in rows(section)]
    out += [""]
    out += [f"- {note}" for note in section.notes]
    out += [
        f"- Load average of the machine: {ran.load_before:.1f} before, {ran.load_after:.1f} after; "
        f"it took {ran.seconds:.0f} s.\n"
    ]
    return "\n".join(out)
