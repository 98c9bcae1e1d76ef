"""The plan of memory, the manifests, ports, and children that end badly."""

from __future__ import annotations

import json
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from overbook.demo import system
from overbook.demo.cases import DemoModel
from overbook.demo.system import HOST, System, SystemFailed, free_port, manifests, memory_of, plan

MIB = 2**20


def models(*sizes: int) -> tuple[DemoModel, ...]:
    return tuple(
        DemoModel(
            name=f"m{number}",
            framework="sklearn",
            requirements=("sklearn",),
            kind="",
            data="",
            bytes=size,
            artifact=Path(f"/m/{number}"),
            cases=(),
        )
        for number, size in enumerate(sizes)
    )


def test_the_budget_is_a_quarter_and_everything_may_be_registered() -> None:
    memory = plan(models(*[20 * MIB] * 40))["mlserver"]
    assert memory.budget == pytest.approx(memory.needed / 4, rel=0.01)
    assert memory.budget * (100 + memory.overcommit_percent) / 100 >= memory.needed


def test_the_budget_holds_the_two_largest() -> None:
    chosen = models(100 * MIB, 90 * MIB, MIB)
    memory = plan(chosen)["mlserver"]
    assert memory.budget == memory_of(chosen[0]) + memory_of(chosen[1])


def test_manifests_name_every_model() -> None:
    chosen = models(MIB, 2 * MIB)
    server, *rest = [json.loads(text) for text in manifests(chosen, plan(chosen)).split("---\n")]
    assert server["kind"] == "Server"
    assert server["spec"]["memory"] == plan(chosen)["mlserver"].budget
    assert server["spec"]["extraCapabilities"] == ["lightgbm"]
    assert [document["metadata"]["name"] for document in rest] == ["m0", "m1"]
    assert rest[1]["spec"] == {
        "storageUri": "/m/1",
        "requirements": ["sklearn"],
        "memory": memory_of(chosen[1]),
    }


def test_each_server_has_a_plan_for_the_models_that_it_will_get() -> None:
    (first,) = models(MIB)
    free = replace(first, name="free", framework="onnx", requirements=("onnx",))
    asked = replace(first, name="asked", framework="onnx", requirements=("onnx", "triton"))
    saved = replace(first, name="saved", framework="tensorflow", requirements=("tensorflow",))
    memory = plan((first, free, asked, saved))
    assert memory["mlserver"].needed == memory_of(first) + memory_of(free)
    assert memory["triton"].needed == memory_of(asked) + memory_of(saved)
    assert memory_of(asked) == memory_of(free) + system.PROCESS_BYTES["onnx"]


def test_a_taken_port_gives_another() -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        wish = taken.getsockname()[1]
        assert free_port(wish) != wish
    assert free_port(wish) == wish


def child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> System:
    """A System whose Overbook is a little program."""
    monkeypatch.setattr(system, "_LAUNCH", program)
    made = System(state_dir=tmp_path, port=1, api_port=1, log=tmp_path / "out")
    made.start(tmp_path / "manifests.yaml")
    return made


def test_a_child_that_ends_is_reported_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = child(tmp_path, monkeypatch, "print('error: port 9000 is taken'); raise SystemExit(1)")
    with pytest.raises(SystemFailed, match="code 1: error: port 9000 is taken"):
        made.wait_ready(lambda _: None)
    with pytest.raises(SystemFailed, match="stopped with code 1"):
        made.stop()


def test_a_child_that_stops_on_ctrl_c_is_a_clean_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = (
        "import pathlib, signal, sys\n"
        "signal.signal(signal.SIGINT, lambda *_: sys.exit(0))\n"
        "print('up', flush=True)\n"
        "signal.pause()"
    )
    made = child(tmp_path, monkeypatch, program)
    while not made.log.read_text():
        made.check()
    made.stop()
    made.stop()


def test_a_child_that_leaves_a_process_behind_is_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(system, "LEFTOVER_SECONDS", 0.05)
    program = (
        "import signal, subprocess, sys\n"
        "signal.signal(signal.SIGINT, lambda *_: sys.exit(0))\n"
        "left = subprocess.Popen(['sleep', '60'], start_new_session=True)\n"
        "print(left.pid, flush=True)\n"
        "signal.pause()"
    )
    made = child(tmp_path, monkeypatch, program)
    while not (said := made.log.read_text()):
        made.check()
    with pytest.raises(SystemFailed, match=f"left processes behind .killed.: {said.strip()}"):
        made.stop()
