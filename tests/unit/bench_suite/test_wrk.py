"""What wrk's script writes is read, and failed requests are no measurement."""

from __future__ import annotations

import pytest

from bench.errors import BenchFailed
from bench.wrk import Outcome, parse


def test_the_result_line_is_found_among_the_rest() -> None:
    output = "Running 2s test\n\n  12 requests in 2.00s\nRESULT 150 700 900 1500 12000 2000000 0\n"
    assert parse(output) == Outcome(
        p50=150, p95=700, p99=900, worst=1500, per_second=6000, requests=12000
    )


@pytest.mark.parametrize(
    "output",
    [
        "RESULT 150 700 900 1500 12000 2000000 3",
        "RESULT 0 0 0 0 0 2000000 0",
        "unable to connect to 127.0.0.1:1 Connection refused",
        "",
    ],
)
def test_failures_are_no_measurement(output: str) -> None:
    with pytest.raises(BenchFailed, match="wrk"):
        parse(output)
