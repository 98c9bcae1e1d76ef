"""What models take, found out without Overbook: the referee of what it charges.

For MLServer: a fresh process for each measurement (`fresh_process`). For Triton, where a model has a process of its
own: that process, in a Triton which was started for this one model alone.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

import psutil

from bench.asking import same
from bench.errors import BenchFailed
from bench.launched import Launched, launched_triton
from bench.zoo import Exhibit, Plan, make
from overbook.agent.servers.mlserver import server as mlserver
from overbook.agent.servers.mlserver.settings import server_settings
from overbook.agent.servers.triton.backends import pip_offer
from overbook.agent.servers.triton.config import publish
from overbook.client.http import JsonObject
from overbook.runtimes.install import environment

_SCRIPT: Final = Path(__file__).with_name("fresh_process.py")
_REPEATS: Final = 3
_PRIMER_MEGABYTES: Final = 0.05
_SECONDS_EACH: Final = 120.0
_TRITON_SECONDS: Final = 60.0
_STUB: Final = "triton_python_backend_stub"


@dataclass(frozen=True, slots=True)
class Truth:
    """Bytes that a model adds to a process: once loaded, and once it was asked.

    ``first``: what it took when asked as the first of its kind; more than ``asked`` by what its framework sets up once.
    """

    loaded: int
    asked: int
    first: int


def truths(exhibits: Sequence[Exhibit], *, repeats: int = _REPEATS) -> dict[str, Truth]:
    """By the models' names, the medians of so many processes each. Takes a second or two for each model.

    Raises BenchFailed.
    """
    on_triton = [each for each in exhibits if each.plan.on_triton]
    others = [each for each in exhibits if not each.plan.on_triton]
    found = _in_fresh_processes(others, repeats)
    return found | {each.name: _alone_on_triton(each) for each in on_triton}


def _in_fresh_processes(exhibits: Sequence[Exhibit], repeats: int) -> dict[str, Truth]:
    if not exhibits:
        return {}
    runtime = environment("mlserver")
    with tempfile.TemporaryDirectory(prefix="ob-truth-") as name:
        folder = Path(name)
        orders, answers = folder / "orders.json", folder / "answers.json"
        primers = _primers(folder / "primers", exhibits)
        models = [
            _order(each)
            | {"primer": _order(primers[each.plan.kind]) if each.plan.kind in primers else None}
            for each in exhibits
        ]
        orders.write_text(json.dumps({"repeats": repeats, "models": models}))
        config = mlserver.MlserverConfig(runtime.python, runtime.plugin, folder)
        done = subprocess.run(
            [str(runtime.python), str(_SCRIPT), str(orders), str(answers)],
            # As MLServer's own is made.
            env=mlserver._environment(config),
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=_SECONDS_EACH * len(exhibits),
            check=False,
        )
        if done.returncode:
            raise BenchFailed(f"{_SCRIPT.name}: {done.stderr.strip()[-500:]}")
        lines = [json.loads(line) for line in answers.read_text().splitlines()]
    return {
        exhibit.name: _truth(exhibit, line) for exhibit, line in zip(exhibits, lines, strict=True)
    }


def _primers(folder: Path, exhibits: Sequence[Exhibit]) -> dict[str, Exhibit]:
    """A tiny model of each kind. What a class of the user's own sets up is its models'."""
    kinds = sorted({each.plan.kind for each in exhibits} - {"custom"})
    made = make(folder, [Plan(f"primer-{kind}", kind, _PRIMER_MEGABYTES) for kind in kinds])
    return {each.plan.kind: each for each in made}


def _order(exhibit: Exhibit) -> dict[str, object]:
    return {"settings": server_settings(exhibit.prepared), "request": exhibit.request}


def _truth(exhibit: Exhibit, said: Mapping[str, object]) -> Truth:
    if "error" in said:
        raise BenchFailed(f"truth of {exhibit.name}: {said['error']}")
    same(exhibit, said["answer"])
    return Truth(*(_median(said[key]) for key in ("loaded", "asked", "first")))


def _median(values: object) -> int:
    assert isinstance(values, list)
    return int(median(values))


# -- Triton


def _alone_on_triton(exhibit: Exhibit) -> Truth:
    offer = pip_offer(environment("triton").extras)
    with (
        tempfile.TemporaryDirectory(prefix="ob-tri-") as name,
        launched_triton(Path(name) / "triton") as server,
    ):
        publish(exhibit.prepared, server.folder / "models", offer=offer)
        _post(server, f"/v2/repository/models/{exhibit.name}/load", {})
        loaded = _stub_bytes(server.pid)
        answer = json.loads(_post(server, f"/v2/models/{exhibit.name}/infer", exhibit.request))
        same(exhibit, answer["outputs"][0]["data"])
        asked = _stub_bytes(server.pid)
    return Truth(loaded, asked, asked)


def _post(server: Launched, path: str, body: JsonObject) -> bytes:
    connection = http.client.HTTPConnection(server.addresses.rest, timeout=_TRITON_SECONDS)
    with contextlib.closing(connection):
        connection.request("POST", path, json.dumps(body))
        reply = connection.getresponse()
        text = reply.read()
    if reply.status != 200:
        raise BenchFailed(f"Triton, {path}: {reply.status} {text[:300]!r}")
    return text


def _stub_bytes(pid: int) -> int:
    """Anonymous bytes of the processes of the only model there is, once they stand still."""
    stubs = [
        each
        for each in psutil.Process(pid).children(recursive=True)
        if any(_STUB in word for word in each.cmdline()[:1])
    ]
    if not stubs:
        raise BenchFailed(f"Triton, process {pid}: it has no stub; expected that of its model")
    # What it lets go of after an answer, it lets go of at once.
    time.sleep(0.5)
    return sum(anonymous(each.pid) for each in stubs)


def anonymous(pid: int) -> int:
    """Bytes of a process that are not pages of files, by the kernel."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) * 1024
    raise BenchFailed(f"/proc/{pid}/smaps_rollup: no line Anonymous; expected one in kB")
