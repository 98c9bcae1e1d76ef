"""What the real weighing room says, beside what a process that only loads the file holds; and models that misbehave.

The truth is taken by hand: a fresh interpreter reads the file with joblib and looks at itself.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import textwrap
import time
from collections.abc import AsyncIterator
from pathlib import Path

import joblib
import numpy as np
import psutil
import pytest
import pytest_asyncio
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from overbook.agent.servers.launched.environment import server_environment
from overbook.agent.servers.launched.server import tuned
from overbook.agent.servers.mlserver import weighing_room
from overbook.agent.servers.mlserver.server import MlserverServer
from overbook.agent.servers.protocol import PreparedModel, WeighingFailed
from tests.integration import mlserver_harness

pytestmark = pytest.mark.asyncio(loop_scope="module")
CALL = 60.0
KIB = 1024
_BY_HAND = """
import ctypes, gc, sys
import joblib, sklearn.ensemble, sklearn.feature_extraction.text, sklearn.linear_model, sklearn.pipeline, sklearn.tree

def held():
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Anonymous:"))

before = held()
model = joblib.load(sys.argv[1])
print(held() - before)
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MlserverServer]:
    """Never started: weighing needs none that runs."""
    made = mlserver_harness.server(tmp_path_factory.mktemp("server"))
    yield made
    await made.close()


def truth(artifact: Path) -> int:
    """Bytes."""
    runtime = mlserver_harness.runtime()
    done = subprocess.run(
        [str(runtime.python), "-c", _BY_HAND, str(artifact / "model.joblib")],
        env=tuned(server_environment(os.environ), 0),
        capture_output=True,
        text=True,
        check=True,
        timeout=CALL,
    )
    return int(done.stdout) * KIB


def _words(count: int) -> list[str]:
    letters = np.random.default_rng(5).integers(97, 123, (count, 9))
    return ["".join(map(chr, row)) for row in letters]


def _estimators() -> dict[str, object]:
    rng = np.random.default_rng(3)
    rows, labels = rng.normal(size=(8000, 6)), rng.integers(0, 3, 8000)
    words = _words(120_000)
    texts = [" ".join(words[start : start + 40]) for start in range(0, len(words), 40)]
    pipeline = make_pipeline(TfidfVectorizer(), LogisticRegression(max_iter=5))
    return {
        "forest": RandomForestClassifier(30, random_state=0).fit(rows, labels),
        "text": pipeline.fit(texts, [number % 2 for number in range(len(texts))]),
    }


async def test_it_says_what_a_fresh_process_takes(server: MlserverServer, tmp_path: Path) -> None:
    for name, estimator in _estimators().items():
        (tmp_path / name).mkdir()
        joblib.dump(estimator, tmp_path / name / "model.joblib")
        weights = [
            await server.weigh(PreparedModel(name, 1, tmp_path / name), timeout=CALL)
            for _ in range(2)
        ]
        true = truth(tmp_path / name)
        for weight in weights:
            assert weight is not None
            assert abs(weight.kept - true) <= 0.02 * true + 256 * KIB, (name, weight, true)
            assert weight.peak >= weight.kept
    forest = await server.weigh(PreparedModel("forest", 1, tmp_path / "forest"), timeout=CALL)
    assert forest is not None
    assert forest.peak > 1.5 * forest.kept, "read and copied: both are there for a moment"


def _custom(folder: Path, name: str, code: str) -> PreparedModel:
    artifact = folder / name
    artifact.mkdir()
    body = textwrap.indent(textwrap.dedent(code), " " * 8)
    (artifact / "model.py").write_text(
        f"import mlserver\nclass Model(mlserver.MLModel):\n    async def load(self):\n{body}\n        return True\n"
    )
    settings = {"name": name, "implementation": "model.Model"}
    (artifact / "model-settings.json").write_text(json.dumps(settings))
    return PreparedModel(name, 1, artifact)


async def test_what_the_first_request_allocates_is_weighed_with_it(
    server: MlserverServer, tmp_path: Path
) -> None:
    model = _custom(tmp_path, "lazy", "self.held = bytearray(b'x') * 5_000_000")
    code = model.artifact / "model.py"
    code.write_text(
        code.read_text()
        + "    async def predict(self, request):\n        self.more = bytearray(b'x') * 20_000_000\n"
    )
    request = json.dumps(
        {"inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [1.0]}]}
    ).encode()
    plain = await server.weigh(model, timeout=CALL)
    asked = await server.weigh(model, timeout=CALL, request=request)
    assert plain is not None
    assert asked is not None
    assert (plain.asked, asked.asked) == (False, True)
    assert plain.kept == pytest.approx(5e6, rel=0.02)
    assert asked.kept == pytest.approx(25e6, rel=0.02)


async def test_what_is_bound_to_the_loop_of_its_load_is_there_at_its_request(
    server: MlserverServer, tmp_path: Path
) -> None:
    model = _custom(
        tmp_path,
        "bound",
        """
        import asyncio
        self.questions = asyncio.Queue()
        self.work = asyncio.ensure_future(self.answer())
        """,
    )
    code = model.artifact / "model.py"
    code.write_text(
        code.read_text()
        + """
    async def answer(self):
        done = await self.questions.get()
        self.more = bytearray(b'x') * 20_000_000
        done.set_result(None)

    async def predict(self, request):
        import asyncio
        done = asyncio.get_running_loop().create_future()
        await self.questions.put(done)
        await done
"""
    )
    request = json.dumps(
        {"inputs": [{"name": "x", "shape": [1], "datatype": "FP64", "data": [1.0]}]}
    ).encode()
    asked = await server.weigh(model, timeout=CALL, request=request)
    assert asked is not None
    assert asked.kept == pytest.approx(20e6, rel=0.02)


@pytest.mark.parametrize(
    ("name", "code", "told", "died"),
    [
        ("raises", "raise ValueError('no weights here')", "no weights here", False),
        ("exits", "import os; os._exit(3)", "exit code 3", True),
        ("leaves", "raise SystemExit(4)", "SystemExit: 4", True),
        ("crashes", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "SIGSEGV", True),
        ("blocks", "import time; time.sleep(1000)", "did not end within 2 s", True),
        ("refuses", "return False", "returned False", False),
    ],
)
async def test_what_a_load_does_is_its_own_affair(
    server: MlserverServer, tmp_path: Path, name: str, code: str, told: str, died: bool
) -> None:
    model = _custom(tmp_path, name, code)
    with pytest.raises(WeighingFailed, match=told) as failed:
        await server.weigh(model, timeout=2.0 if name == "blocks" else CALL)
    assert failed.value.died == died
    good = _custom(tmp_path, "good", "self.held = bytearray(b'x') * 30_000_000; print('ready')")
    weight = await server.weigh(good, timeout=CALL)
    assert weight is not None
    assert weight.kept == pytest.approx(30e6, rel=0.02)


async def test_modules_that_come_along_are_not_the_model(
    server: MlserverServer, tmp_path: Path
) -> None:
    """What it imports for the first time stays in the server, whoever leaves."""
    (tmp_path / "elsewhere.py").write_text("MUCH = bytearray(b'x') * 20_000_000\n")
    model = _custom(
        tmp_path,
        "importer",
        f"""
        import sys; sys.path.insert(0, {str(tmp_path)!r})
        import xml.dom.minidom, sqlite3.dump, elsewhere
        self.held = bytearray(b'x') * 5_000_000
        """,
    )
    weight = await server.weigh(model, timeout=CALL)
    assert weight is not None
    assert weight.kept == pytest.approx(25e6, rel=0.1), (
        "not to be found without what the model does first"
    )


async def test_it_gives_way_to_whoever_answers_requests(
    server: MlserverServer, tmp_path: Path
) -> None:
    told = tmp_path / "priority"
    model = _custom(
        tmp_path,
        "patient",
        f"""
        import os
        mine = os.getpriority(os.PRIO_PROCESS, 0)
        try:
            group = open("/proc/self/autogroup").read().split()[-1]
        except OSError:
            group = mine
        open({str(told)!r}, "w").write(f"{{mine}} {{group}}")
        """,
    )
    assert await server.weigh(model, timeout=CALL) is not None
    mine = os.getpriority(os.PRIO_PROCESS, 0)
    assert told.read_text() == f"{min(19, mine + 5)} 5"


async def test_what_a_model_started_ends_with_it(server: MlserverServer, tmp_path: Path) -> None:
    mark = "31415.9265"
    model = _custom(tmp_path, "parent", f"import subprocess; subprocess.Popen(['sleep', '{mark}'])")
    assert await server.weigh(model, timeout=CALL) is not None
    deadline = time.monotonic() + CALL
    while any(mark in (each.info["cmdline"] or ()) for each in psutil.process_iter(["cmdline"])):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_the_room_is_there_only_while_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Longer than it takes to look for processes, also where others run beside.
    monkeypatch.setattr(weighing_room, "IDLE", 2.0)
    server = mlserver_harness.server(tmp_path / "state")
    model = _custom(tmp_path, "small", "self.held = 1")

    def rooms() -> int:
        me = os.getpid()
        return sum(
            each.info["ppid"] == me and "overbook_mlserver.weighing" in (each.info["cmdline"] or ())
            for each in psutil.process_iter(["ppid", "cmdline"])
        )

    try:
        before = rooms()
        assert await server.weigh(model, timeout=CALL) is not None
        assert rooms() == before + 1
        deadline = time.monotonic() + CALL
        while rooms() > before:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.05)
        assert await server.weigh(model, timeout=CALL) is not None, "and again when it is"
    finally:
        await server.close()
