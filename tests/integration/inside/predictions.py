"""Where predictions run, in MLServer's own environment: prints {model: [[on the loop?, answer], …]} as JSON.

python predictions.py PLUGIN_FOLDER
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from types import SimpleNamespace

sys.path.insert(0, sys.argv[1])

from mlserver.errors import InferenceError
from mlserver.model import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, RequestInput
from overbook_mlserver.books import Books
from overbook_mlserver.predictions import Predictions
from overbook_mlserver.repository import IsolatedSettings
from overbook_mlserver.samples import Samples

XGBOOST, SKLEARN = "mlserver_xgboost.XGBoostModel", "mlserver_sklearn.SKLearnModel"
CASES = {
    "native-short": {"implementation": XGBOOST},
    "native-slow": {"implementation": XGBOOST},
    "native-fails": {"implementation": XGBOOST},
    "native-in-batches": {"implementation": XGBOOST, "max_batch_size": 4, "max_batch_time": 0.1},
    "native-own-code": {"implementation": XGBOOST},
    "long-load": {"implementation": SKLEARN},
    "short-load": {"implementation": SKLEARN},
    "onnx": {"implementation": "overbook_mlserver.onnx.OnnxModel"},
}


def model(name: str) -> MLModel:
    settings = IsolatedSettings(name=name, **CASES[name])
    if name == "native-own-code":
        settings._space = object()
    return MLModel(settings)


async def main() -> None:
    models = {name: model(name) for name in CASES}
    places: list[bool] = []

    async def infer(payload: InferenceRequest, name: str, version: str | None) -> InferenceResponse:
        places.append(threading.current_thread() is threading.main_thread())
        if name == "native-slow":
            time.sleep(0.002)  # noqa: ASYNC251  it computes
        if name == "native-fails":
            raise InferenceError("no such output")
        said = f"{name} {version} {payload.inputs[0].data[0]}"
        return InferenceResponse(model_name=name, id=said, outputs=[])

    short_loads = SimpleNamespace(expected=lambda settings: settings.name == "short-load")
    samples = Samples()
    predictions = Predictions(models.get, short_loads, samples, Books(), infer)
    tensor = RequestInput(name="x", shape=[1], datatype="FP32", data=[1.5])
    found = {}
    for name in [*CASES, "unknown"]:
        found[name] = []
        for _ in range(3):
            try:
                request = InferenceRequest(inputs=[tensor])
                answer = (await predictions.infer(request, name, "7")).id
            except InferenceError as error:
                answer = str(error)
            found[name].append([places.pop(), answer])
    print(json.dumps(found))


asyncio.run(main())
