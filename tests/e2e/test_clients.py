"""The clients people already have, unmodified, against the data plane: tritonclient, kserve, curl."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http

from tests.e2e.process import Overbook, oip_error, server_manifest, wait_until
from tests.e2e.zoo import TrainedModel, train

CLIENTS_PYTHON = Path(__file__).parents[2] / ".venv-clients" / "bin" / "python"


@pytest.fixture(scope="module")
def iris(home: Path) -> TrainedModel:
    return train(home / "zoo", "iris", megabytes=0.1, seed=0)


@pytest.fixture(scope="module")
def running(home: Path, iris: TrainedModel) -> Iterator[Overbook]:
    # Seldon's own sample of a Model; only its storageUri is another.
    seldon = {
        "apiVersion": "mlops.seldon.io/v1alpha1",
        "kind": "Model",
        "metadata": {"name": "iris"},
        "spec": {"storageUri": str(iris.folder), "requirements": ["sklearn"], "memory": "100Ki"},
    }
    with Overbook(home / "clients") as overbook:
        assert overbook.apply(server_manifest("100Mi"), seldon).code == 0
        yield overbook


@pytest.fixture(params=["hot", "cold"])
def temperature(request: pytest.FixtureRequest, running: Overbook) -> str:
    verb = "activate" if request.param == "hot" else "evict"
    assert running.run(verb, "iris").code == 0
    expected = "resident" if request.param == "hot" else "cold"
    wait_until(expected, lambda: running.states()["iris"] == expected)
    return str(request.param)


@pytest.mark.parametrize("binary", [True, False])
def test_tritonclient_over_rest(
    running: Overbook, iris: TrainedModel, temperature: str, binary: bool
) -> None:
    client = triton_http.InferenceServerClient(f"127.0.0.1:{running.port}")
    tensor = triton_http.InferInput("x", iris.inputs.shape, "FP64")
    tensor.set_data_from_numpy(iris.inputs, binary_data=binary)
    answer = client.infer("iris", [tensor])
    np.testing.assert_array_equal(answer.as_numpy("predict").ravel(), iris.expected)
    client.close()


def test_tritonclient_over_grpc(running: Overbook, iris: TrainedModel, temperature: str) -> None:
    client = triton_grpc.InferenceServerClient(f"127.0.0.1:{running.port}")
    tensor = triton_grpc.InferInput("x", iris.inputs.shape, "FP64")
    tensor.set_data_from_numpy(iris.inputs)  # raw_input_contents
    answer = client.infer("iris", [tensor])
    np.testing.assert_array_equal(answer.as_numpy("predict").ravel(), iris.expected)
    client.close()


def test_tritonclient_asks_about_a_cold_model_without_loading_it(
    running: Overbook, iris: TrainedModel
) -> None:
    assert running.run("evict", "iris").code == 0
    loads = running.total("loads")
    http = triton_http.InferenceServerClient(f"127.0.0.1:{running.port}")
    grpc = triton_grpc.InferenceServerClient(f"127.0.0.1:{running.port}")
    for client in (http, grpc):
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("iris")
    assert http.get_server_metadata()["name"]
    assert grpc.get_server_metadata().name
    assert http.get_model_metadata("iris")["name"] == "iris"
    assert grpc.get_model_metadata("iris").name == "iris"
    index = {each["name"]: each["state"] for each in http.get_model_repository_index()}
    assert index == {"iris": "READY"}
    assert [(m.name, m.state) for m in grpc.get_model_repository_index().models] == [
        ("iris", "READY")
    ]
    assert running.states()["iris"] == "cold"
    assert running.total("loads") == loads
    http.close()
    grpc.close()


def test_the_kserve_client(running: Overbook, iris: TrainedModel, temperature: str) -> None:
    done = subprocess.run(
        [
            str(CLIENTS_PYTHON),
            str(Path(__file__).with_name("kserve_client.py")),
            str(running.port),
            "iris",
            json.dumps(iris.inputs.tolist()),
        ],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert found["live"] == found["ready"] == found["model_ready"] == [True, True]
    assert found["rest"] == iris.expected.tolist()
    assert found["grpc"] == iris.expected.tolist()


@pytest.mark.parametrize("version", ["--http1.1", "--http2-prior-knowledge"])
@pytest.mark.parametrize("path", ["infer", "versions/1/infer"])
def test_curl(
    running: Overbook, iris: TrainedModel, temperature: str, version: str, path: str
) -> None:
    tensor = {
        "name": "x",
        "datatype": "FP64",
        "shape": list(iris.inputs.shape),
        "data": iris.inputs.ravel().tolist(),
    }
    done = subprocess.run(
        [
            *(
                "curl",
                "-sS",
                version,
                "-w",
                "\n%{http_code}",
                "-H",
                "content-type: application/json",
            ),
            *("-d", json.dumps({"inputs": [tensor]})),
            f"http://127.0.0.1:{running.port}/v2/models/iris/{path}",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    body, code = done.stdout.rsplit("\n", 1)
    if path == "infer":
        assert code == "200", body
        assert json.loads(body)["outputs"][0]["data"] == iris.expected.tolist()
    else:
        # MLServer has no version 1 of a model without versions; its own words reach the client.
        assert code in ("200", "404"), body


def test_an_unknown_model_is_not_found_without_touching_a_server(running: Overbook) -> None:
    loads = running.total("loads")
    answer = running.data.post("/v2/models/nobody/infer", json={"inputs": []})
    assert answer.status_code == 404
    assert "nobody" in oip_error(answer)
    client = triton_grpc.InferenceServerClient(f"127.0.0.1:{running.port}")
    tensor = triton_grpc.InferInput("x", [1], "FP64")
    tensor.set_data_from_numpy(np.zeros(1))
    with pytest.raises(triton_grpc.InferenceServerException) as raised:
        client.infer("nobody", [tensor])
    assert "NOT_FOUND" in str(raised.value.status())
    client.close()
    assert running.total("loads") == loads


def test_a_header_that_names_another_model_is_refused(
    running: Overbook, iris: TrainedModel
) -> None:
    answer = running.data.post(
        "/v2/models/iris/infer", json={"inputs": []}, headers={"seldon-model": "other"}
    )
    assert answer.status_code == 400
    assert "other" in oip_error(answer)


def test_sixty_four_megabytes_both_ways(running: Overbook, iris: TrainedModel) -> None:
    """A body near the limit reaches the server, and its refusal comes back, cold and hot."""
    rows = 64_000_000 // (4 * 8)
    inputs = np.resize(iris.inputs, (rows, iris.inputs.shape[1])).astype(np.float64)
    for verb in ("evict", "activate"):
        assert running.run(verb, "iris").code == 0
        client = triton_http.InferenceServerClient(
            f"127.0.0.1:{running.port}", network_timeout=300.0, connection_timeout=300.0
        )
        tensor = triton_http.InferInput("x", inputs.shape, "FP64")
        tensor.set_data_from_numpy(inputs, binary_data=True)
        answer = client.infer("iris", [tensor])
        assert answer.as_numpy("predict").shape[0] == rows
        client.close()
