"""Trains small TensorFlow networks and saves them as SavedModels. Runs in Triton's environment; see `customers`.

There is no scikit-learn in it, so the data are made: points around centres, which the network tells apart.
"""

import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

from pathlib import Path

import customers
import numpy as np
import tensorflow as tf

_FEATURES = 32
_CENTRES = 6
_STEPS = 20


class Network(tf.Module):
    """Two layers."""

    def __init__(self, hidden: int, rng: np.random.Generator) -> None:
        super().__init__()

        def variable(*shape: int) -> tf.Variable:
            return tf.Variable(rng.normal(0.0, 0.1, shape).astype(np.float32))

        self.first, self.first_bias = variable(_FEATURES, hidden), variable(hidden)
        self.second, self.second_bias = variable(hidden, hidden), variable(hidden)
        self.last, self.last_bias = variable(hidden, _CENTRES), variable(_CENTRES)

    @tf.function(input_signature=[tf.TensorSpec([None, _FEATURES], tf.float32, name="features")])
    def __call__(self, features: tf.Tensor) -> dict[str, tf.Tensor]:
        inside = tf.nn.relu(features @ self.first + self.first_bias)
        inside = tf.nn.relu(inside @ self.second + self.second_bias)
        return {"scores": inside @ self.last + self.last_bias}


def train(out: Path, order: customers.Order, seed: int) -> dict[str, object]:
    """Fit, save, remember some answers."""
    tf.config.threading.set_intra_op_parallelism_threads(1)
    rng = np.random.default_rng([seed, order.number])
    centres = rng.normal(0.0, 2.0, (_CENTRES, _FEATURES))
    labels = rng.integers(0, _CENTRES, 512)
    rows = (centres[labels] + rng.normal(0.0, 1.0, (512, _FEATURES))).astype(np.float32)
    network = Network(int(rng.uniform(800, 1600)), rng)
    for _ in range(_STEPS):
        with tf.GradientTape() as tape:
            scores = network(rows)["scores"]
            loss = tf.reduce_mean(
                tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=scores)
            )
        for weights, slope in zip(
            network.trainable_variables,
            tape.gradient(loss, network.trainable_variables),
            strict=True,
        ):
            weights.assign_sub(0.01 * slope)
    folder = out / "models" / order.name
    tf.saved_model.save(network, str(folder), signatures=network.__call__)
    cases = []
    for _ in range(customers.REQUESTS_PER_MODEL):
        asked = rows[rng.integers(0, len(rows), int(rng.integers(1, 5)))]
        answers = network(asked)["scores"].numpy()
        cases.append({"inputs": asked.tolist(), "answers": answers.ravel().tolist()})
    trained = customers.Trained(
        framework="tensorflow",
        kind="network",
        data="centres",
        bytes=customers.size_of(folder),
        requirements=("tensorflow",),
        tensor="features",
        datatype="FP32",
        cases=cases,
    )
    return customers.write(out, order, trained)


if __name__ == "__main__":
    customers.main(frozenset({"tensorflow"}), train)
