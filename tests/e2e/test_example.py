"""The example notebook, executed with fewer models: its numbers, its pictures, and what it leaves behind."""

from __future__ import annotations

import ast
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import matplotlib.image
import numpy as np
import psutil
import pytest

from tests.notebook_reader import Cell, code_cells

ROOT: Final = Path(__file__).parents[2]
# Made by `make test` and `make notebook`.
PYTHON: Final = ROOT / ".venv-notebook" / "bin" / "python"
MODELS: Final = 16
# As the picture's legend has them: in memory, loading, on disk.
COLOURS: Final = {"in memory": (0, 114, 178), "loading": (230, 159, 0), "on disk": (228, 228, 228)}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scratch(home: Path) -> Path:
    """Where it makes its temporary folder."""
    folder = home / "scratch"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def cells(home: Path, scratch: Path) -> dict[str, Cell]:
    subprocess.run([sys.executable, "-m", "overbook", "runtime", "install", "triton"], check=True)
    executed = home / "executed.ipynb"
    done = subprocess.run(
        [PYTHON, ROOT / "scripts" / "notebook.py", executed],
        env=os.environ
        | {"EXAMPLE_MODELS": str(MODELS), "EXAMPLE_SECONDS": "6", "TMPDIR": str(scratch)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return code_cells(executed)


def test_every_cell_runs_without_trouble(cells: dict[str, Cell]) -> None:
    assert [each.count for each in cells.values()] == list(range(1, len(cells) + 1))
    assert [each.troubles for each in cells.values() if each.troubles] == []


def test_more_models_than_memory_were_served_and_no_request_failed(cells: dict[str, Cell]) -> None:
    summary = ast.literal_eval(cells["result"].text)
    assert summary["models"] == MODELS
    assert summary["memory that they need (MiB)"] > 1.5 * summary["memory that they got (MiB)"]
    assert summary["requests"] >= summary["loads"]
    assert summary["failed or wrong"] == 0
    assert summary["loads"] > 0
    assert summary["evictions"] > 0


def test_the_tables_name_both_servers_and_the_models(cells: dict[str, Cell]) -> None:
    assert "mlserver/0" in cells["get-servers"].text
    assert "triton/0" in cells["get-servers"].text
    assert "shop-01" in cells["get-models"].text


def test_the_picture_shows_models_in_memory_loading_and_on_disk(cells: dict[str, Cell]) -> None:
    (picture,) = cells["residents-picture"].pictures
    pixels = np.round(matplotlib.image.imread(io.BytesIO(picture))[..., :3] * 255)
    legend = 400  # pixels, at most, of each colour in the legend
    for name, colour in COLOURS.items():
        assert (pixels == colour).all(axis=-1).sum() > legend, name
    assert [len(cells[f"{name}-picture"].pictures) for name in ("latency", "memory")] == [1, 1]


def test_nothing_of_it_is_left(cells: dict[str, Cell], scratch: Path) -> None:
    assert "stopped" in cells["stop"].text
    # Nor `.ses`, in which ONNX Runtime keeps the session of its telemetry where nobody turns that off.
    assert [path.name for path in scratch.iterdir()] == []
    running = [
        line
        for process in psutil.process_iter(["cmdline"])
        if str(scratch) in (line := " ".join(process.info["cmdline"] or ()))
    ]
    assert running == []
