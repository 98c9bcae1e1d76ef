"""Trains small networks on scikit-learn's data and writes them as ONNX. Runs in the demo's own environment,
which has the `onnx` package; see `customers`.
"""

import warnings
from pathlib import Path

import customers
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from sklearn import datasets
from sklearn.neural_network import MLPClassifier

# What every server that reads ONNX understands today.
_OPSET = 17
_IR_VERSION = 8
_DATA = (
    ("digits", datasets.load_digits),
    ("cancer", datasets.load_breast_cancer),
    ("wine", datasets.load_wine),
)


def train(out: Path, order: customers.Order, seed: int) -> dict[str, object]:
    """Fit, write the graph, remember some answers."""
    rng = np.random.default_rng([seed, order.number])
    data, load = _DATA[order.turn % len(_DATA)]
    rows, answers = load(return_X_y=True)
    rows = (rows / rows.max(axis=0).clip(1.0)).astype(np.float32)
    hidden = (int(rng.uniform(900, 1800)), int(rng.uniform(900, 1800)))
    with warnings.catch_warnings():
        # Two epochs are enough for a model whose weights matter more than its score.
        warnings.simplefilter("ignore")
        fitted = MLPClassifier(hidden, max_iter=2, random_state=seed + order.number)
        fitted.fit(rows, answers)
    model = _graph(fitted, rows.shape[1])
    folder = out / "models" / order.name
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(model, folder / "model.onnx")
    predict = ReferenceEvaluator(model)
    cases = []
    for _ in range(customers.REQUESTS_PER_MODEL):
        asked = rows[rng.integers(0, len(rows), int(rng.integers(1, 5)))]
        (scores,) = predict.run(None, {"features": asked})
        cases.append({"inputs": asked.tolist(), "answers": scores.ravel().tolist()})
    trained = customers.Trained(
        framework="onnx",
        kind="network",
        data=data,
        bytes=customers.size_of(folder),
        requirements=("onnx", "triton") if order.kind == "onnx-triton" else ("onnx",),
        tensor="features",
        datatype="FP32",
        cases=cases,
    )
    return customers.write(out, order, trained)


def _graph(fitted: MLPClassifier, features: int) -> onnx.ModelProto:
    """The fitted network: a matrix, a bias and a rectifier for each layer, scores at the end."""
    nodes, weights, flowing = [], [], "features"
    layers = list(zip(fitted.coefs_, fitted.intercepts_, strict=True))
    for number, (matrix, bias) in enumerate(layers):
        for name, value in ((f"w{number}", matrix), (f"b{number}", bias)):
            weights.append(numpy_helper.from_array(value.astype(np.float32), name))
        last = number == len(layers) - 1
        made = "scores" if last else f"sum{number}"
        nodes.append(helper.make_node("Gemm", [flowing, f"w{number}", f"b{number}"], [made]))
        if not last:
            flowing = f"layer{number}"
            nodes.append(helper.make_node("Relu", [made], [flowing]))
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["rows", features])],
        [
            helper.make_tensor_value_info(
                "scores", TensorProto.FLOAT, ["rows", layers[-1][1].shape[0]]
            )
        ],
        weights,
    )
    opsets = [helper.make_opsetid("", _OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)


if __name__ == "__main__":
    customers.main(frozenset({"onnx", "onnx-triton"}), train)
