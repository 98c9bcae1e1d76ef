"""A model that is asked all the time in the background, to see that nothing else disturbs it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Self

import grpc
import httpx
import numpy as np
from numpy.typing import NDArray

from overbook.wire import oip_pb2 as oip
from tests.e2e.zoo import TrainedModel


class Asker:
    """One model over both protocols. For one thread; a context manager."""

    def __init__(self, port: int, name: str, inputs: NDArray[np.float64]) -> None:
        self.name = name
        self._inputs = inputs
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60)
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self._infer = self._channel.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            request_serializer=oip.ModelInferRequest.SerializeToString,
            response_deserializer=oip.ModelInferResponse.FromString,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()
        self._channel.close()

    def rest(self) -> httpx.Response:
        tensor = {
            "name": "x",
            "datatype": "FP64",
            "shape": list(self._inputs.shape),
            "data": self._inputs.ravel().tolist(),
        }
        return self._http.post(f"/v2/models/{self.name}/infer", json={"inputs": [tensor]})

    def grpc(self) -> oip.ModelInferResponse:
        """Raises grpc.RpcError."""
        request = oip.ModelInferRequest(model_name=self.name)
        tensor = request.inputs.add(name="x", datatype="FP64", shape=self._inputs.shape)
        tensor.contents.fp64_contents.extend(self._inputs.ravel())
        answer: oip.ModelInferResponse = self._infer(request, timeout=60)
        return answer

    def answer(self, number: int) -> list[float]:
        """Over REST when ``number`` is even. Raises AssertionError with what came instead of an answer."""
        if number % 2:
            try:
                contents = self.grpc().outputs[0].contents
            except grpc.RpcError as error:
                raise AssertionError(f"gRPC {self.name}: {_words(error)}") from None
            return list(contents.int64_contents) or list(contents.fp64_contents)
        response = self.rest()
        assert response.status_code == 200, f"{self.name}: {response.status_code} {response.text}"
        found: list[float] = response.json()["outputs"][0]["data"]
        return found


def _words(error: grpc.RpcError) -> str:
    return f"{error.code()} {error.details()}"


def same(answer: Any, expected: NDArray[np.float64]) -> bool:
    got, wanted = np.asarray(answer).ravel(), expected.ravel()
    return got.shape == wanted.shape and bool(np.allclose(got, wanted, rtol=1e-9, atol=0))


class Steady:
    """Asks ``model`` every ``pause`` seconds until left; then no request may have failed.

    ``accept`` looks at every answer; without it the answer must be the model's own.
    """

    def __init__(
        self,
        port: int,
        model: TrainedModel,
        *,
        accept: Callable[[list[float]], bool] | None = None,
        pause: float = 0.02,
    ) -> None:
        self._asker = Asker(port, model.name, model.inputs)
        self._accept = accept or (lambda answer: same(answer, model.expected))
        self._pause = pause
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, name=f"steady {model.name}")
        self.answers = 0
        self.failures: list[str] = []
        self.longest = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        assert self.failures == [], self.failures[:5]
        assert self.answers > 0

    def _ask(self) -> None:
        number = 0
        with self._asker:
            while not self._stop.is_set():
                number += 1
                began = time.monotonic()
                try:
                    answer = self._asker.answer(number)
                    assert self._accept(answer), f"wrong answer {answer}"
                    self.answers += 1
                except (AssertionError, httpx.HTTPError) as error:
                    self.failures.append(f"{type(error).__name__}: {error}")
                self.longest = max(self.longest, time.monotonic() - began)
                self._stop.wait(self._pause)
