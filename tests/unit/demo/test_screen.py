"""What people see: every figure is there, and it fits a terminal of 80 by 24."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console, RenderableType

from overbook.demo.cases import DemoModel
from overbook.demo.observed import ModelState, Observed, ServerState
from overbook.demo.screen import View, frame, plain_line, seconds_text, summary
from overbook.demo.tally import Traffic

MIB = 2**20


def view(*, wrong: int = 0) -> View:
    models = {
        f"juniper-breast-cancer-{number}": DemoModel(
            name=f"juniper-breast-cancer-{number}",
            framework="sklearn",
            requirements=("sklearn",),
            kind="GradientBoosting",
            data="cancer",
            bytes=24 * MIB,
            artifact=Path("/m"),
            cases=(),
        )
        for number in range(40)
    }
    traffic = Traffic()
    for number, name in enumerate(models):
        for _ in range(100 + number):
            traffic.answered(name, over_grpc=number % 2 == 0, again=True, seconds=0.008)
    for _ in range(wrong):
        traffic.problem("x", wrong=True)
    states = {
        name: ModelState(state="resident", bytes=24 * MIB, loads=3, evictions=2) for name in models
    }
    seen = Observed(
        models=states,
        servers={
            "mlserver": ServerState(budget=163 * MIB, resident=150 * MIB, most=163 * MIB),
            "triton": ServerState(budget=100 * MIB, resident=90 * MIB, most=90 * MIB),
        },
        resident_models=10,
        hot=900,
        cold=100,
        activations=120,
        activation_p50=0.045,
        activation_p99=1.25,
    )
    return View(
        models=models,
        needed=1054 * MIB,
        elapsed=21.4,
        seconds=35.0,
        rate=213.0,
        traffic=traffic,
        seen=seen,
    )


def drawn(renderable: RenderableType) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=80, height=24, color_system=None).print(renderable)
    return out.getvalue().rstrip("\n").split("\n")


def test_the_live_table_fits_and_says_everything() -> None:
    lines = drawn(frame(view()))
    assert len(lines) <= 23
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    for figure in (
        "40 models need 1,054MiB",
        "4,780",
        "213/s",
        "none",
        "90.0 %",
        "10 of 40 models",
        "150MiB of 163MiB",
        "90MiB of 100MiB",
        "p50 45 ms, p99 1.2 s",
        "juniper-breast-cancer-39",
    ):
        assert figure in text
    assert "…" not in text


def test_the_live_table_before_anything_is_known() -> None:
    empty = replace(view(), traffic=Traffic(), seen=Observed())
    assert any("hit rate" in line and "-" in line for line in drawn(frame(empty)))


def test_wrong_answers_are_not_hidden() -> None:
    bad = view(wrong=3)
    assert not any("every one equal" in line for line in drawn(frame(bad)))
    assert "3 wrong" in plain_line(bad)
    assert any("not without failures" in line for line in drawn(summary(bad)))


def test_the_summary() -> None:
    lines = drawn(summary(view()))
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines)
    assert "Served 4.0 times more than fits in memory, and no request noticed." in text
    assert "120, 80" in text
    assert "163MiB, most used 163MiB" in text
    assert "100MiB, most used 90MiB" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "-"), (0.0012, "1.2 ms"), (0.045, "45 ms"), (0.9994, "999 ms"), (2.345, "2.3 s")],
)
def test_latencies_as_text(seconds: float | None, text: str) -> None:
    assert seconds_text(seconds) == text
