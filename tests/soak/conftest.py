"""Fixtures of the long runs: how long, and where their pictures go."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.zoo import TrainedModel, sizes, train

# What a full run takes; shorter ones ask for proportionally less.
FULL_MINUTES = 30.0
FULL_EVICTIONS = 5000


@pytest.fixture(scope="session")
def minutes() -> float:
    """``OVERBOOK_SOAK_MINUTES``, default 30."""
    return float(os.environ.get("OVERBOOK_SOAK_MINUTES", FULL_MINUTES))


@pytest.fixture(scope="session")
def pictures() -> Iterator[Path]:
    """``OVERBOOK_SOAK_PICTURES`` (kept), else a temporary folder."""
    named = os.environ.get("OVERBOOK_SOAK_PICTURES")
    if named:
        Path(named).mkdir(parents=True, exist_ok=True)
        yield Path(named).resolve()
        return
    with tempfile.TemporaryDirectory(prefix="ob-soak-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session", autouse=True)
def runtimes() -> None:
    for name in ("mlserver", "triton"):
        command = [sys.executable, "-m", "overbook", "runtime", "install", name]
        subprocess.run(command, check=True)


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ob-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def forty_models() -> Iterator[list[TrainedModel]]:
    """Forty different models of 5 to 60 MB."""
    with tempfile.TemporaryDirectory(prefix="ob-zoo-") as folder:
        yield [
            train(Path(folder), f"model-{number:02}", megabytes=size, seed=number)
            for number, size in enumerate(sizes(40, smallest=5.0, largest=60.0))
        ]
