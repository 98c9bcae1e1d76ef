"""The tutorial docs/hugging-face.md is followed from top to bottom, with small models in the form that optimum writes;
then what the class there answers is compared with ONNX Runtime and `tokenizers` themselves, one text at a time.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.e2e.exported_models import CLIENTS_PYTHON, LONGEST, make_classifier, make_embedder
from tests.e2e.page import Example, examples, is_answer
from tests.e2e.process import Overbook, model_manifest, oip_error
from tests.integration import triton_harness

PAGE = Path(__file__).parents[2] / "docs" / "hugging-face.md"
# What the page says, and what is done here: roughly a thirtieth of the memory.
PORT, MEMORY = "127.0.0.1:9000", ("server.yaml", "memory: 2Gi", "memory: 80Mi")
# To build the environment, download what is not in uv's cache, and compile on a busy machine.
COMMAND_SECONDS = 300.0
TEXTS = [
    "great",
    "",
    "A GREAT film; dull weather!",
    "dull " * 30 + "great",
    # The end of what is too long is not read.
    "fun " * LONGEST + "dull " * 2000,
    "Ünknown — 漢字",
    *(f"the film {'is long and ' * number}great" for number in range(30)),
]

_DIRECT = """
import json, sys
from pathlib import Path
import numpy as np, onnxruntime
from tokenizers import Tokenizer
folder = Path(sys.argv[1])
tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
takes = [each.name for each in session.get_inputs()]
found = []
for text in json.load(sys.stdin):
    ids = tokenizer.encode(text).ids
    if len(ids) > int(sys.argv[2]):
        ids = ids[: int(sys.argv[2]) - 1] + ids[-1:]
    feed = {name: np.full((1, len(ids)), int(name == "attention_mask")) for name in takes}
    feed["input_ids"] = np.array([ids])
    found.append(session.run(None, feed)[0][0].tolist())
json.dump(found, sys.stdout)
"""
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def workplace(home: Path) -> Path:
    """Where the reader is, who has exported two models."""
    folder = home / "reader"
    make_classifier(folder / "sst2")
    make_embedder(folder / "minilm")
    return folder


@pytest.fixture(scope="module")
def running(home: Path) -> Iterator[Overbook]:
    triton_harness.runtime()
    with Overbook(home / "state") as made:
        yield made


@pytest.fixture(scope="module")
def read(running: Overbook, workplace: Path) -> Path:
    """The reader's folder, who has done all that the page says and seen what it shows."""
    for example in examples(PAGE):
        _follow(running, workplace, example)
    return workplace


def _follow(running: Overbook, folder: Path, example: Example) -> None:
    content = example.run.replace(PORT, f"127.0.0.1:{running.port}")
    if example.kind == "file":
        name, said, done_here = MEMORY
        if example.answer == name:
            assert said in content
            content = content.replace(said, done_here)
        path = folder / example.answer
        path.parent.mkdir(exist_ok=True)
        path.write_text(content)
        return
    command = ["bash", "-c", content]
    if example.kind == "python":
        (folder / "example.py").write_text(content)
        command = [str(CLIENTS_PYTHON), "example.py"]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_SECONDS,
        cwd=folder,
        env=running.environment
        | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"},
    )
    assert is_answer(example.answer, done.stdout), (
        f"{PAGE.name}, line {example.line}:\n{done.stdout}{done.stderr}{running.log()}"
    )


def answers(running: Overbook, model: str, texts: list[str]) -> dict[str, Any]:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [len(texts)], "data": texts}
    reply = running.data.post(f"/v2/models/{model}/infer", json={"inputs": [tensor]})
    assert reply.status_code == 200, reply.text
    return {
        each["name"]: np.array(each["data"]).reshape(each["shape"])
        for each in reply.json()["outputs"]
    }


def directly(running: Overbook, folder: Path) -> list[Any]:
    """What the network makes of each text without padding, in a process of its own."""
    [root] = (running.folder / "state" / "environments").glob("mlserver-*")
    done = subprocess.run(
        [str(root / "bin" / "python"), "-c", _DIRECT, str(folder), str(LONGEST)],
        input=json.dumps(TEXTS),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout)
    return found


def test_many_were_served_in_less_memory_than_they_need(running: Overbook, read: Path) -> None:
    shops = [each for each in running.models() if each["metadata"]["name"].startswith("sst2-")]
    assert len(shops) > 12
    states = running.states()
    assert {"cold", "resident"} <= {states[f"sst2-{shop}"] for shop in range(1, 13)}
    assert running.total("evictions") > 0


def test_labels_are_those_of_the_network(running: Overbook, read: Path) -> None:
    logits = np.array(directly(running, read / "sst2"))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    found = answers(running, "sst2", TEXTS)
    expected = np.where(logits[:, 1] > logits[:, 0], "POSITIVE", "NEGATIVE")
    decided = np.abs(logits[:, 1] - logits[:, 0]) > 1e-3
    assert decided.sum() > len(TEXTS) / 2
    assert (found["label"].ravel() == expected)[decided].all()
    assert set(expected[decided]) == {"POSITIVE", "NEGATIVE"}
    np.testing.assert_allclose(found["score"].ravel(), probabilities.max(axis=1), atol=1e-5)


def test_embeddings_are_the_means_of_the_networks_vectors(running: Overbook, read: Path) -> None:
    means = [np.mean(vectors, axis=0) for vectors in directly(running, read / "minilm")]
    expected = [mean / np.linalg.norm(mean) for mean in means]
    found = answers(running, "minilm", TEXTS)["embedding"]
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (
            {"datatype": "FP32", "shape": [1], "data": [1.0]},
            "inputs: expected one of BYTES, with a text for each row",
        ),
        (
            {"datatype": "BYTES", "shape": [0], "data": []},
            "input 'text': expected at least one text",
        ),
    ],
)
def test_what_is_no_text_is_refused(
    running: Overbook, read: Path, tensor: dict[str, Any], said: str
) -> None:
    reply = running.data.post(
        "/v2/models/sst2/infer", json={"inputs": [{"name": "text", **tensor}]}
    )
    assert (reply.status_code, oip_error(reply)) == (400, said)


def test_a_folder_of_the_hubs_cache_is_served(running: Overbook, read: Path) -> None:
    cached = read / "hub" / "models--you--sst2"
    snapshot = cached / "snapshots" / "0123456789abcdef0123456789abcdef01234567"
    snapshot.mkdir(parents=True)
    (cached / "blobs").mkdir()
    for file in (read / "sst2").iterdir():
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        shutil.copyfile(file, cached / "blobs" / digest)
        (snapshot / file.name).symlink_to(f"../../blobs/{digest}")
    wanted = ["mlserver", "tokenizers>=0.22"]
    applied = running.apply(model_manifest("cached", snapshot, requirements=wanted))
    assert applied.code == 0, applied.err
    texts = ["great fun", "dull"]
    assert answers(running, "cached", texts)["label"].ravel().tolist() == ["POSITIVE", "NEGATIVE"]
