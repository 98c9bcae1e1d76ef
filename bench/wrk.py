"""Load over HTTP/1.1 from wrk: a C program, so that the client is no part of what is measured."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.errors import BenchFailed

_SCRIPT: Final = Path(__file__).with_name("infer.lua")


@dataclass(frozen=True, slots=True)
class Load:
    """What to send, as JSON text. ``models`` above 1: to the models PREFIX0, PREFIX1, …, else to ``model``.

    Their numbers have at least ``digits`` digits; they are asked in turn, or ``at_random`` (uniformly). ``token``: to
    be shown; "" shows none.
    """

    body: str
    model: str
    models: int = 1
    digits: int = 1
    at_random: bool = False
    token: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Latencies in microseconds as the client saw them, requests per second."""

    p50: float
    p95: float
    p99: float
    worst: float
    per_second: float
    requests: int


def run_wrk(port: int, load: Load, *, connections: int, seconds: int) -> Outcome:
    """Closed loop: each connection has one request at a time. Raises BenchFailed on any failed request."""
    program = shutil.which("wrk")
    if program is None:
        raise BenchFailed("wrk: not installed; run `make bench`, or install wrk")
    done = subprocess.run(
        [
            *(program, "-t", "1", "-c", str(connections), "-d", f"{seconds}s"),
            *("-s", str(_SCRIPT), f"http://127.0.0.1:{port}"),
        ],
        env=os.environ
        | {
            "BENCH_BODY": load.body,
            "BENCH_PREFIX": load.model,
            "BENCH_MODELS": str(load.models),
            "BENCH_DIGITS": str(load.digits),
            "BENCH_RANDOM": "1" if load.at_random else "0",
            "BENCH_TOKEN": load.token,
        },
        capture_output=True,
        text=True,
        timeout=seconds + 60,
        check=False,
    )
    return parse(done.stdout + done.stderr)


def parse(output: str) -> Outcome:
    """The line that the script writes. Raises BenchFailed when requests failed or it is not there."""
    for line in output.splitlines():
        word, *fields = line.split() if line.strip() else [""]
        if word != "RESULT":
            continue
        p50, p95, p99, worst, requests, duration, errors = map(int, fields)
        if errors or not requests:
            raise BenchFailed(f"wrk: {errors} errors in {requests} requests; expected none")
        return Outcome(p50, p95, p99, worst, requests / (duration / 1e6), requests)
    raise BenchFailed(f"wrk: no result in its output: {output.strip()[-300:]!r}")
