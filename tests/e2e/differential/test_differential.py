"""A server's own port and Overbook's are asked the same, and must answer the same: hot, just reloaded, over HTTP/2.

Every difference is a defect, or has its reason: for a header in `asking.HEADERS`, for part of an answer at the case.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from tritonclient.grpc import service_pb2 as pb

from tests.e2e.differential import corpus, models
from tests.e2e.differential.asking import Answer, Case, Door, Rest, Stream
from tests.e2e.process import Overbook, model_manifest, server_manifest, wait_until

_CASES: Final = {
    "mlserver": [*corpus.common("echo"), *corpus.probes("echo"), *corpus.mlserver()],
    "triton": [*corpus.common("mirror"), *corpus.probes("mirror"), *corpus.triton()],
}
_ALL: Final = [
    pytest.param(kind, case, way, id=f"{case.name}, {way}")
    for kind, cases in _CASES.items()
    for case in cases
    for way in ("reloaded", "hot", "HTTP/2")
    if way != "HTTP/2" or any(isinstance(each, Rest) for each in case.requests)
]


@pytest.fixture(scope="module")
def running(home: Path) -> Iterator[Overbook]:
    folders = models.make(home / "models")
    with Overbook(home / "state") as made:
        applied = made.apply(
            server_manifest("200Mi"),
            server_manifest("1Gi", name="triton", serverConfig="triton"),
            model_manifest("linear", folders["linear"]),
            model_manifest("echo", folders["echo"], requirements=["mlserver"]),
            *(
                model_manifest(name, folders[name], requirements=["triton"])
                for name in models.TRITON
            ),
        )
        assert applied.code == 0, applied.err
        yield made


@pytest.fixture(scope="module")
def doors(running: Overbook) -> Iterator[dict[str, Door]]:
    """Overbook's, over both versions of HTTP, and each server's own."""
    own = {
        each["metadata"]["name"]: each["status"]["replicas"][0]["address"]
        for each in running.servers()
    }
    port = f"127.0.0.1:{running.port}"
    with ExitStack() as stack:
        yield {
            "overbook": stack.enter_context(Door(port)),
            "HTTP/2": stack.enter_context(Door(port, http2=True)),
            **{
                kind: stack.enter_context(Door(own[kind]["rest"], own[kind]["grpc"]))
                for kind in _CASES
            },
        }


@pytest.mark.parametrize(("kind", "case", "way"), _ALL)
def test_both_ports_answer_the_same(
    running: Overbook, doors: dict[str, Door], kind: str, case: Case, way: str
) -> None:
    verb = "evict" if way == "reloaded" else "activate"
    for model in case.models:
        running.api.post(f"/api/v1/models/{model}/{verb}", json={}).raise_for_status()
    through = doors["HTTP/2" if way == "HTTP/2" else "overbook"].answers(case.requests)
    # What a request for the cold model brought in the other must find; what loads nothing must be asked of a hot one.
    for model in case.models:
        running.api.post(f"/api/v1/models/{model}/activate", json={}).raise_for_status()
    directly = doors[kind].answers(case.requests)
    assert [_compared(each, case) for each in through] == [
        _compared(each, case) for each in directly
    ]


def _compared(answer: Answer, case: Case) -> dict[str, Any]:
    found = {part: value for part, value in answer.items() if part not in case.differs}
    if "error" in case.differs:
        for message in found["body"]:
            message.error_message = "said" if message.error_message else ""
    if case.any_order:
        found["body"] = sorted(found["body"], key=lambda message: str(message.infer_response.id))
    return found


def test_streams_of_mlserver_can_be_read_by_who_reads_tritons(
    running: Overbook, doors: dict[str, Door]
) -> None:
    """And one stream may name models on both servers."""
    of_mlserver, of_triton = corpus.asked("echo"), corpus.asked("mirror")
    (own,) = doors["mlserver"].answers([Stream([of_mlserver] * 2, pb.ModelInferResponse)])
    (through,) = doors["overbook"].answers([Stream([of_mlserver] * 2)])
    assert [each.infer_response for each in through["body"]] == own["body"]
    assert len(own["body"]) == 4
    (mixed,) = doors["overbook"].answers([Stream([of_mlserver, of_triton, of_mlserver])])
    names = [each.infer_response.model_name for each in mixed["body"]]
    assert sorted(names) == ["echo"] * 4 + ["mirror"]
    assert mixed["status"] is grpc.StatusCode.OK


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_what_perf_analyzer_asks(running: Overbook, protocol: str) -> None:
    """Of a cold model, in its order; the statistics tell how many requests there were."""
    running.api.post("/api/v1/models/scores/evict", json={}).raise_for_status()
    module = triton_http if protocol == "rest" else triton_grpc
    options = {"as_json": True} if protocol == "grpc" else {}
    with module.InferenceServerClient(f"127.0.0.1:{running.port}") as client:
        assert client.is_server_ready()
        assert "statistics" in client.get_server_metadata(**options)["extensions"]
        assert client.get_model_metadata("scores", **options)["inputs"][0]["name"] == "x"
        assert _count(client.get_inference_statistics("scores", **options)) == 0
        config = client.get_model_config("scores", **options)
        assert config.get("config", config)["max_batch_size"] == 4
        assert running.states()["scores"] == "cold", "to be asked about loads nothing"
        tensor = module.InferInput("x", [1, 3], "FP32")
        tensor.set_data_from_numpy(np.array([[0.1, 0.7, 0.2]], np.float32))
        for _ in range(5):
            client.infer("scores", [tensor])

        def counted(name: str) -> bool:
            return _count(client.get_inference_statistics(name, **options)) == 5

        # Triton counts a request when it has answered it.
        for name in ("scores", ""):
            wait_until(f"statistics of {name or 'all'} tell of 5", partial(counted, name))


@pytest.mark.parametrize("protocol", ["rest", "grpc"])
def test_the_configuration_of_a_model_that_was_never_loaded(
    running: Overbook, home: Path, protocol: str
) -> None:
    """It is loaded for that, and says the same as one that was."""
    module = triton_http if protocol == "rest" else triton_grpc
    options = {"as_json": True} if protocol == "grpc" else {}
    name = f"unasked-{protocol}"
    folder = home / "models" / "scores"
    applied = running.apply(model_manifest(name, folder, requirements=["triton"]))
    assert applied.code == 0, applied.err
    with module.InferenceServerClient(f"127.0.0.1:{running.port}") as client:
        found, known = (client.get_model_config(each, **options) for each in (name, "scores"))
    assert json.dumps(found).replace(name, "scores") == json.dumps(known)
    assert running.run("delete", "model", name).code == 0


def _count(statistics: Any) -> int:
    every = statistics["model_stats"]
    return sum(int(one.get("inference_count", 0)) for one in every if one["name"] == "scores")
