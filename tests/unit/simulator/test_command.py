"""The command: options reach the simulator, results reach the reader."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from overbook.simulator.command import bench

SMALL = ["simulate", "--models", "20", "--requests", "100", "--mean-size", "1Ki", "--spread", "0"]


def invoke(*arguments: str) -> dict[str, float]:
    result = CliRunner().invoke(bench, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert isinstance(answer, dict)
    return answer


def test_simulate_reports() -> None:
    answer = invoke(*SMALL, "--trace", "zipf", "--alpha", "0.6")
    assert answer["requests"] == 100
    assert answer["registered bytes"] == 20 * 1024
    assert answer["budget bytes"] == 5 * 1024
    assert answer["most bytes charged"] <= 5 * 1024
    assert 0 < answer["hit rate"] < 1
    assert answer["core events/s"] > 0


def test_a_budget_in_bytes_goes_before_a_share() -> None:
    assert invoke(*SMALL, "--budget", "20Ki")["evictions"] == 0
    assert invoke(*SMALL, "--fit", "0.1")["evictions"] > 0


def test_tables_are_for_people() -> None:
    result = CliRunner().invoke(bench, SMALL)
    assert result.exit_code == 0
    assert "zipf, 20 models" in result.stdout
    assert "hit rate" in result.stdout


def test_core_reports_events_per_second() -> None:
    answer = invoke("core", "--models", "200", "--resident", "20", "--events", "400")
    assert len(answer) == 6
    assert min(answer.values()) > 1000


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["simulate", "--models", "0"], "models 0: expected a number above 0"),
        (["simulate", "--budget", "0"], "expected more than 0 bytes"),
        (["simulate", "--budget", "much"], "'much' is not a quantity"),
        (["core", "--models", "5", "--resident", "6"], "--resident 6: expected 1 to 5"),
    ],
)
def test_wrong_usage_is_one_clear_line_and_exit_code_2(arguments: list[str], told: str) -> None:
    result = CliRunner().invoke(bench, arguments)
    assert result.exit_code == 2
    assert told in result.stderr
