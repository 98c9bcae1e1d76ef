"""Every example of docs/sending-data.md is run, and answers what the page shows: with curl, requests, tritonclient and
the kserve client, unmodified. MLServer's own client is asked as well.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from onnx import helper

from overbook.runtimes.install import RuntimeEnvironment
from tests.e2e.page import Example, examples, is_answer
from tests.e2e.process import Overbook, model_manifest, server_manifest
from tests.integration import mlserver_harness, onnx_models, triton_harness

PAGE = Path(__file__).parents[2] / "docs" / "sending-data.md"
CLIENTS_PYTHON = Path(__file__).parents[2] / ".venv-clients" / "bin" / "python"
MODELS = Path(__file__).with_name("sending_models.py")
# Where the examples ask.
PORT = "127.0.0.1:9000"
# The model's name, and what it requires; those of the page's own manifests.
REQUIRED = {
    "iris": ["sklearn"],
    "reviews": ["sklearn"],
    "churn": ["sklearn"],
    "prices": ["xgboost"],
    "prices-lightgbm": ["lightgbm"],
    "fares": ["mlflow"],
    "pictures": ["mlserver"],
    "kinds": ["triton"],
    "total": ["onnx", "mlserver"],
    "total-triton": ["onnx", "triton"],
}
EXAMPLES = examples(PAGE)


def _one(name: str, datatype: str, value: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": [1], "data": [value]}


# Requests, each a list of inputs, and what is answered to them.
BATCHES = {
    "reviews": (
        [[_one("text", "BYTES", text)] for text in ("great fun", "schade", "dull")],
        ["good", "bad", "bad"],
    ),
    "churn": (
        [
            [_one("city", "BYTES", city), _one("age", "INT64", age)]
            for city, age in (("Oslo", 44), ("Rome", 61), ("Rome", 25))
        ],
        ["leaves", "stays", "leaves"],
    ),
}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def extras(request: pytest.FixtureRequest) -> Iterator[RuntimeEnvironment]:
    """MLServer with all that the page needs, and Triton's environment beside it, for all that is started here."""
    cache = request.config.cache
    assert cache is not None
    folder = cache.mkdir("runtimes")
    found = mlserver_harness.with_all_extras(folder)
    triton = triton_harness.runtime().root
    beside = folder / triton.name
    # One that is there already may lead to where somebody else keeps theirs.
    beside.unlink(missing_ok=True)
    beside.symlink_to(triton)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OVERBOOK_RUNTIMES_DIR", str(folder))
        yield found


@pytest.fixture(scope="module")
def running(home: Path, extras: RuntimeEnvironment) -> Iterator[Overbook]:
    models = home / "models"
    done = subprocess.run(
        [extras.python, "-I", "-W", "ignore", MODELS, models],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for name in ("total", "total-triton"):
        (models / name).mkdir()
        _save_total(models / name / "model.onnx")
    with Overbook(home / "state") as made:
        applied = made.apply(
            server_manifest("500Mi"),
            server_manifest("1Gi", name="triton", serverConfig="triton"),
            *(
                model_manifest(name, models / name, requirements=words)
                for name, words in REQUIRED.items()
            ),
        )
        assert applied.code == 0, applied.err
        yield made


def _save_total(path: Path) -> None:
    onnx_models.save(
        path,
        [helper.make_node("Add", ["price", "tax"], ["total"])],
        [onnx_models.value(name, "FP32", ["rows"]) for name in ("price", "tax")],
        [onnx_models.value("total", "FP32", ["rows"])],
    )


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda each: f"line {each.line}")
def test_the_answer_is_what_the_page_shows(
    running: Overbook, tmp_path: Path, example: Example
) -> None:
    typed = example.run.replace(PORT, f"127.0.0.1:{running.port}")
    command = ["bash", "-c", typed]
    if example.kind == "python":
        program = tmp_path / "example.py"
        program.write_text(typed)
        command = [str(CLIENTS_PYTHON), str(program)]
    (tmp_path / "photo.png").write_bytes(b"\x89PNG\r\n\x1a\n and so on")
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
        cwd=tmp_path,
        env=running.environment,
    )
    assert is_answer(example.answer, done.stdout), (
        f"{PAGE.name}, line {example.line}:\n{done.stdout}{done.stderr}"
    )


@pytest.mark.parametrize("form", ["JSON", "binary"])
@pytest.mark.parametrize("model", BATCHES)
def test_mlservers_own_client_for_files_of_requests(
    running: Overbook, extras: RuntimeEnvironment, tmp_path: Path, model: str, form: str
) -> None:
    """`mlserver infer`, which its package has: it sends several requests as one."""
    requests, expected = BATCHES[model]
    asked, answered = tmp_path / "asked", tmp_path / "answered"
    asked.write_text("\n".join(json.dumps({"inputs": inputs}) for inputs in requests))
    command = [
        *(str(extras.python.parent / "mlserver"), "infer", "-u", f"127.0.0.1:{running.port}"),
        *("-m", model, "-i", str(asked), "-o", str(answered), "-s", "2"),
        *(["-b"] if form == "binary" else []),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=90)
    assert done.returncode == 0, done.stderr
    answers = [json.loads(line) for line in answered.read_text().splitlines()]
    found = {each["parameters"]["batch_index"]: each["outputs"][0]["data"] for each in answers}
    assert [found[number] for number in range(len(requests))] == [[each] for each in expected]


def test_the_page_has_each_client_and_each_kind_of_model() -> None:
    runs = "\n".join(each.run for each in EXAMPLES)
    words = ("curl", "requests", "tritonclient.http", "tritonclient.grpc", "kserve")
    assert [word for word in (*words, *REQUIRED) if word not in runs] == []


@pytest.mark.parametrize(
    ("shown", "found", "same"),
    [
        ('{"id": "…", "data": [1]}', '{"data":[1],"id":"x"}', True),
        ('{"id": "…", "data": [1]}', '{"data":[2],"id":"x"}', False),
        ('{"id": "…"}', '{"id":"x","more":1}', False),
        ("a  b\n", "a\nb", True),
        ("a b", "a c", False),
        ("a … c", "a b c", True),
        ('{"p": [0.62543]}', '{"p": [0.6254323998938853]}', True),
        ('{"p": [0.62543]}', '{"p": [0.6257]}', False),
        ("", "a", False),
    ],
)
def test_an_answer_is_told_from_another(shown: str, found: str, same: bool) -> None:
    assert is_answer(shown, found) is same
