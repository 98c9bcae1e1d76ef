"""The demo as a command: a small one to its end, and one that is told to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

COMMAND = (sys.executable, "-c", "import sys; from overbook.cli.main import main; sys.exit(main())")


def demo(tmp_path: Path, *arguments: str, before: Sequence[str] = ()) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*before, *COMMAND, "demo", "--state-dir", str(tmp_path), "--models", "10", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def left_over(tmp_path: Path) -> list[str]:
    """Command lines of processes that have to do with this demo."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or ())
        if str(tmp_path) in line and process.pid != os.getpid():
            found.append(line)
    return found


@pytest.mark.slow
def test_a_small_demo_ends_well_and_leaves_nothing_running(tmp_path: Path) -> None:
    process = demo(tmp_path, "--seconds", "4")
    said, _ = process.communicate(timeout=180)
    assert process.returncode == 0, said
    assert "and no request noticed" in said
    assert "0, each was compared with the prediction" in said
    assert left_over(tmp_path) == []
    assert not (tmp_path / "run").exists()
    trained = {path.name.partition("-")[2] for path in tmp_path.glob("models-*/models/*")}
    assert trained == {"sklearn", "lightgbm", "onnx", "tensorflow"}


IN_BACKGROUND = ("sh", "-c", "trap '' INT; exec \"$@\"", "sh")


@pytest.mark.slow
@pytest.mark.parametrize("before", [(), IN_BACKGROUND], ids=["foreground", "background"])
def test_a_demo_that_is_stopped_while_training_leaves_nothing(
    tmp_path: Path, before: Sequence[str]
) -> None:
    """As a script's background job it starts with SIGINT ignored; SIGTERM must end it all the same."""
    process = demo(tmp_path, "--seed", "8", before=before)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("models-*.partial")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1, said
    assert said.strip().endswith("stopped before the end")
    assert left_over(tmp_path) == []
