"""What machine this is and how busy it is. No names and no paths: the report is published."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import psutil

from bench.report import Machine


def machine() -> Machine:
    return Machine(
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=psutil.virtual_memory().total,
        kernel=platform.release(),
        niceness=os.nice(0),
    )


def load_average() -> float:
    """Of the last minute; it contains the benchmarks themselves."""
    return os.getloadavg()[0]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        field, _, value = line.partition(":")
        if field.strip() == "model name":
            return value.strip()
    return platform.machine()
