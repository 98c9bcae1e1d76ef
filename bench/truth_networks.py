"""Makes SavedModels of wanted sizes. Runs in Triton's environment, which has TensorFlow; imports nothing of Overbook.

    python truth_networks.py OUT PLANS

As `truth_models`: OUT/NAME/… and OUT/NAME.json for each of the plans.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np

_FEATURES = 4


def savedmodel(folder: Path, megabytes: float, seed: int) -> dict[str, Any]:
    """One wide layer and its sum; what it answers."""
    tf: Any = importlib.import_module("tensorflow")
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(_FEATURES, int(megabytes * 1e6) // 4 // _FEATURES))
    module = tf.Module()
    module.weights = tf.Variable(weights.astype(np.float32))

    def plain(x: Any) -> dict[str, Any]:
        return {"y": tf.reduce_sum(x @ module.weights, axis=1)}

    signature = [tf.TensorSpec([None, _FEATURES], tf.float32, name="x")]
    serve = module.serve = tf.function(plain, input_signature=signature)
    tf.saved_model.save(module, str(folder), signatures=serve)
    row = [0.1, -0.2, 0.3, 0.4]
    tensor = {"name": "x", "shape": [1, _FEATURES], "datatype": "FP32", "data": row}
    answer = float((np.array(row) @ weights.astype(np.float32).astype(np.float64)).sum())
    return {"request": {"inputs": [tensor]}, "answers": [answer]}


if __name__ == "__main__":
    out = Path(sys.argv[1])
    for plan in json.loads(Path(sys.argv[2]).read_text()):
        said = savedmodel(out / plan["name"], plan["megabytes"], plan["seed"])
        (out / f"{plan['name']}.json").write_text(json.dumps(said))
