"""SavedModels for tests, written by the TensorFlow of the runtime's own environment. Run there, with a folder."""

from __future__ import annotations

import os
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import tensorflow as tf

TYPES = {
    "BOOL": tf.bool,
    "UINT8": tf.uint8,
    "UINT16": tf.uint16,
    "UINT32": tf.uint32,
    "UINT64": tf.uint64,
    "INT8": tf.int8,
    "INT16": tf.int16,
    "INT32": tf.int32,
    "INT64": tf.int64,
    "FP16": tf.float16,
    "FP32": tf.float32,
    "FP64": tf.float64,
    "BYTES": tf.string,
}


class AddSub(tf.Module):
    """The mission's example: OUTPUT0 is the sum, OUTPUT1 the difference."""

    @tf.function
    def serve(self, INPUT0, INPUT1):  # noqa: N803
        return {"OUTPUT0": INPUT0 + INPUT1, "OUTPUT1": INPUT0 - INPUT1}

    def signature(self, *shape):
        tensors = [tf.TensorSpec(shape, tf.int32, name=name) for name in ("INPUT0", "INPUT1")]
        return self.serve.get_concrete_function(*tensors)


class Echo(tf.Module):
    """Every type in one model; each output is the input of its name."""

    @tf.function
    def serve(self, **tensors):
        return {f"{name}_OUT": tf.identity(tensor) for name, tensor in tensors.items()}

    def signature(self):
        return self.serve.get_concrete_function(
            **{name: tf.TensorSpec([None], kind, name=name) for name, kind in TYPES.items()}
        )


class Words(tf.Module):
    """Strings, a lookup table with an initializer, a variable, a scalar in and out."""

    def __init__(self):
        keys, values = tf.constant(["cat", "dog"]), tf.constant([1, 2], tf.int64)
        self.table = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(keys, values), -1
        )
        self.weight = tf.Variable(3.0)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, name="words"),
            tf.TensorSpec([], tf.float32, name="factor"),
        ]
    )
    def serve(self, words, factor):
        return {
            "upper": tf.strings.upper(words),
            "number": self.table.lookup(words),
            "product": factor * self.weight,
        }


class Failing(tf.Module):
    """Refuses negative numbers while it computes; reshapes what it gets to rows of three."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])
    def serve(self, x):
        with tf.control_dependencies([tf.debugging.assert_non_negative(x, "x is negative")]):
            return {"y": tf.reshape(x, [-1, 3])}


def main(folder):
    def save(name, module, signatures):
        tf.saved_model.save(module, os.path.join(folder, name), signatures=signatures)

    adder, words, failing, echo = AddSub(), Words(), Failing(), Echo()
    save("add_sub", adder, adder.signature(16))
    save("batched", adder, adder.signature(None, 16))
    save("two", adder, {"plain": adder.signature(16), "rows": adder.signature(None, 16)})
    save("echo", echo, echo.signature())
    save("words", words, words.serve)
    save("failing", failing, failing.serve)
    save("unsigned", tf.Module(), None)


main(sys.argv[1])
