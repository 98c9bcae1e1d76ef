"""Fixtures of the end-to-end tests: the runtime installed once, folders that are short enough for sockets."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.zoo import TrainedModel, zoo


@pytest.fixture(scope="session", autouse=True)
def runtime() -> None:
    """MLServer's environment; made once per machine, found afterwards."""
    subprocess.run([sys.executable, "-m", "overbook", "runtime", "install", "mlserver"], check=True)


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="ob-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def sixty_models() -> Iterator[list[TrainedModel]]:
    """Sixty different models of 0.1 to 30 MB."""
    with tempfile.TemporaryDirectory(prefix="ob-zoo-") as folder:
        yield zoo(Path(folder), 60)
