"""`--limit`: what it is given to the machine, and what it says to what is no limit."""

from __future__ import annotations

import sys
import types

import pytest

from overbook.cli.limit_options import _LIMITS
from overbook.machine.options import LimitOptions, ServeGatewayOptions, UpOptions
from tests.unit.cli.conftest import Overbook


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[UpOptions | ServeGatewayOptions]:
    """What would have been started."""
    calls: list[UpOptions | ServeGatewayOptions] = []

    def start(options: UpOptions | ServeGatewayOptions) -> int:
        calls.append(options)
        return 0

    for module, function in (("up", "run_up"), ("serve", "run_gateway")):
        fake = types.ModuleType(f"overbook.machine.{module}")
        setattr(fake, function, start)
        monkeypatch.setitem(sys.modules, fake.__name__, fake)
    return calls


@pytest.mark.parametrize("command", [("up",), ("serve", "gateway")])
def test_limits_are_given_to_the_machine(
    overbook: Overbook,
    started: list[UpOptions | ServeGatewayOptions],
    command: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    given = (
        *("requests-per-second=500", "waiting=1000", "waiting-per-model=50", "connections=64"),
        *("streams=10", "memory=2Gi", "head-time=5s", "request-time=2m", "idle-time=1h"),
        "unread-time=90",
    )
    assert overbook(*command, *(f"--limit={each}" for each in given)).exit_code == 0
    assert overbook(*command).exit_code == 0
    monkeypatch.setenv("OVERBOOK_LIMIT", "waiting=7 streams=8")
    assert overbook(*command).exit_code == 0
    assert [each.limits for each in started] == [
        LimitOptions(500, 64, 1000, 50, 10, 2 * 1024**3, 5, 120, 3600, 90),
        LimitOptions(),
        LimitOptions(waiting=7, streams=8),
    ]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("rate=5", "'rate' is no limit; expected one of requests-per-second, waiting,"),
        ("conections=5", "'conections' is no limit; did you mean 'connections'?"),
        ("waiting", "waiting: without a value: expected a number from 1 to 1000000"),
        *(
            (f"waiting={each}", f"waiting: '{each}': expected a number")
            for each in ("0", "-1", "x", "1e3", "9999999")
        ),
        ("memory=1", "memory: '1': expected bytes such as 2Gi, 64Mi at least"),
        ("memory=lots", "memory: 'lots': expected bytes such as 2Gi"),
        ("head-time=0", "head-time: '0': expected a time in whole seconds such as 30s or 10m"),
        ("head-time=1.5s", "head-time: '1.5s': expected a time in whole seconds"),
        ("head-time=10ms", "head-time: '10ms': expected a time"),
        ("idle-time=2d", "idle-time: '2d': expected a time in whole seconds"),
        (
            "idle-time=25h",
            "idle-time: '25h': expected a time in whole seconds such as 30s or 10m, from 1s to 24h",
        ),
    ],
)
def test_what_is_no_limit_is_told_with_what_would_be(
    overbook: Overbook, started: list[UpOptions | ServeGatewayOptions], given: str, said: str
) -> None:
    result = overbook("up", "--limit", given)
    assert result.exit_code == 2
    assert said in " ".join(result.output.replace("│", " ").split())
    assert not started


def test_each_is_given_once(
    overbook: Overbook, started: list[UpOptions | ServeGatewayOptions]
) -> None:
    result = overbook("up", "--limit", "waiting=1", "--limit", "waiting=2")
    assert result.exit_code == 2
    assert "'waiting' is there twice" in result.output


def test_help_names_all(overbook: Overbook) -> None:
    shown = " ".join(overbook("up", "--help").output.split())
    for name in _LIMITS:
        assert name in shown
