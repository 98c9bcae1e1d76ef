"""Artifacts of every supported format, and what goes wrong with files: made of a seed, so that each can be made again.

Nothing here knows what reads them.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from sklearn.linear_model import LogisticRegression

from tests.unit.agent.servers.triton.artifacts import TORCH_TENSORS, adder, linear

Files = dict[str, bytes]

LINEAR: Final = pickle.dumps(LogisticRegression().fit(np.eye(4), [0, 1, 0, 1]))
XGBOOST_JSON: Final = b'{"learner":{"attributes":{},"feature_names":[]},"version":[3,2,0]}'
XGBOOST_UBJ: Final = (
    b"{L\x00\x00\x00\x00\x00\x00\x00\x07learner{L\x00\x00\x00\x00\x00\x00\x00\x0aattributes{}}"
)
LIGHTGBM: Final = b"tree\nversion=v4\nnum_class=1\n"
CATBOOST: Final = b"CBM1\x10\x00\x00\x00"
MLMODEL: Final = (
    b"artifact_path: model\nflavors:\n  python_function:\n    loader_module: mlflow.sklearn\n"
)
SETTINGS: Final = {
    "name": "iris",
    "implementation": "mlserver_sklearn.SKLearnModel",
    "platform": "sklearn",
    "versions": ["v1"],
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 4], "parameters": {"a": 1.5}}],
    "outputs": [{"name": "y", "datatype": "INT64", "shape": [-1]}],
    "parameters": {"uri": "./model.joblib", "version": "v1", "content_type": "np", "extra": {}},
}
REQUIREMENTS: Final = (
    b"numpy>=1.20 ; python_version > '3.8' and (sys_platform == 'linux' or extra == 'x')\n"
    b"scikit-learn[a,b]~=1.4  # a comment\n-r more.txt\nsix @ file:///tmp/six.whl\n"
    b"pandas==2.0.* \\\n  --hash=sha256:00\n"
)
CONFIG: Final = (
    b'name: "m"\nbackend: "onnxruntime"\nplatform: "onnxruntime_onnx"\nmax_batch_size: 8\n'
    b'input [ { name: "x" data_type: TYPE_FP32 dims: [ 4 ] } ]\n'
    b'output [ { name: "y" data_type: TYPE_FP32 dims: [ 3 ] } ]\n'
    b"instance_group [ { count: 2 kind: KIND_CPU } ]\nversion_policy: { specific: { versions: [1] } }\n"
    b'default_model_filename: "model.onnx"\nparameters { key: "a" value { string_value: "b" } }\n'
)
PYTHON: Final = b"class TritonPythonModel:\n    def execute(self, requests): ...\n"


@dataclass(frozen=True, slots=True)
class Seedling:
    """An artifact as its library writes it. ``requirements``: the words that its model has in its manifest."""

    files: Mapping[str, bytes]
    requirements: tuple[str, ...] = ()
    links: Mapping[str, str] = field(default_factory=dict)


def seedlings(folder: Path) -> dict[str, dict[str, Seedling]]:
    """By runtime and format. ``folder``: for what has to be written to be made."""
    onnx = linear(folder / "model.onnx").read_bytes()
    saved = (adder(folder / "saved") / "saved_model.pb").read_bytes()
    custom = {**SETTINGS, "implementation": "model.Custom"}
    return {
        "mlserver": {
            "settings": Seedling({"model-settings.json": _json(SETTINGS), "model.joblib": LINEAR}),
            "pickle": Seedling({"model.pkl": LINEAR}),
            "joblib": Seedling({"1/model.joblib": LINEAR, "2/model.joblib": LINEAR}, ("sklearn",)),
            "xgboost": Seedling({"model.ubj": XGBOOST_UBJ, "model.json": XGBOOST_JSON}),
            "xgboost json": Seedling({"model.json": XGBOOST_JSON}, ("xgboost",)),
            "lightgbm": Seedling({"model.bst": LIGHTGBM}, ("lightgbm",)),
            "catboost": Seedling({"model.cbm": CATBOOST}),
            "onnx": Seedling({"model.onnx": onnx}),
            "mlflow": Seedling(
                {"MLmodel": MLMODEL, "model.pkl": LINEAR, "requirements.txt": REQUIREMENTS}
            ),
            "custom code": Seedling(
                {
                    "model-settings.json": _json(custom),
                    "model.py": b"class Custom: ...",
                    "model.joblib": LINEAR,
                    "requirements.txt": REQUIREMENTS,
                    "six-1.16.0.dist-info/METADATA": b"Name: six\nVersion: 1.16.0\n",
                }
            ),
        },
        "triton": {
            "config": Seedling({"config.pbtxt": CONFIG, "1/model.onnx": onnx}),
            "onnx": Seedling({"model.onnx": onnx}, ("onnx",)),
            "saved model": Seedling({"1/model.savedmodel/saved_model.pb": saved}, ("tensorflow",)),
            "saved model alone": Seedling({"saved_model.pb": saved, "variables/v": b"0"}),
            "python": Seedling(
                {
                    "config.pbtxt": b'backend: "python"\n' + TORCH_TENSORS.encode(),
                    "1/model.py": PYTHON,
                }
            ),
            "torch": Seedling({"config.pbtxt": TORCH_TENSORS.encode(), "1/model.pt": b"PK\3\4"}),
        },
    }


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


# -- texts that somebody will write one day

_ODD: Final = (
    "//[x",
    "file://[::1",
    "a" * 5000,
    "../" * 300 + "etc/passwd",
    "/dev/zero",
    "a\0b",
    "\u202e\u200b猫",
    "\ud800",
    "C:\\models",
    "http://user:99999999@host:port/x",
    "%",
    "",
    " ",
    "١",
    "9" * 5000,
    "-",
)
_VALUES: Final[tuple[object, ...]] = (
    *_ODD,
    None,
    True,
    -1,
    2**70,
    1e308,
    float("nan"),
    [],
    {},
    [[[[]]]],
    {"a": {"b": {}}},
    ["x"] * 50,
)
_TOKENS: Final = (
    b"[" * 100_000,
    b'{"a":' * 20_000,
    b"(" * 5000,
    b"input {" * 3000,
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\0" * 100,
    b'"\\ud800"',
    b"NaN",
    b"1e999",
    b"9" * 5000,
    b"data_type: 99 ",
    b"dims: [ 9223372036854775808 ] ",
    b" ; " + b"(" * 800 + b"python_version > '3'" + b")" * 800,
    b" ; python_version > 'x.y.z'",
    b" ; nonsense == '1'",
    b"\n" * 1000,
    b"\x80\x04\x95",
    b"c__builtin__\n" + b"x" * 3000 + b"\n",
    b"\x1f\x8b\x08\x00",
    b"BZh9",
    b"\x0a\xff\xff\xff\xff\x0f",
    b"\x08\x01" * 2000,
    b'default_model_filename: "' + b"n" * 5000 + b'" ',
    b'default_model_filename: "a\\000b" ',
    b"version_policy: { specific: { versions: [ 9223372036854775807 ] } } ",
)


def _flip(content: bytearray, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 12)):
        if content:
            content[chance.randrange(len(content))] = chance.randrange(256)


def _cut(content: bytearray, chance: random.Random) -> None:
    del content[chance.randint(0, len(content)) :]


def _drop(content: bytearray, chance: random.Random) -> None:
    begin = chance.randint(0, len(content))
    del content[begin : begin + chance.randint(1, 20)]


def _repeat(content: bytearray, chance: random.Random) -> None:
    begin = chance.randint(0, len(content))
    content[begin:begin] = content[begin : begin + chance.randint(1, 50)] * chance.randint(1, 20)


def _noise(content: bytearray, chance: random.Random) -> None:
    begin = chance.randint(0, len(content))
    content[begin:begin] = chance.randbytes(chance.randint(1, 40))


def _token(content: bytearray, chance: random.Random) -> None:
    begin = chance.randint(0, len(content))
    content[begin:begin] = chance.choice(_TOKENS)


_BYTES: Final = (_flip, _flip, _cut, _drop, _repeat, _noise, _token, _token)


def mutated(content: bytes, chance: random.Random) -> bytes:
    """What became of a file's content."""
    if content.startswith(b'{"name"') and chance.random() < 0.6:
        return _other_values(content, chance)
    made = bytearray(content)
    for _ in range(chance.randint(1, 3)):
        chance.choice(_BYTES)(made, chance)
    return bytes(made)


def _other_values(content: bytes, chance: random.Random) -> bytes:
    """JSON that is well formed, with some values of another kind."""
    found = json.loads(content)
    for _ in range(chance.randint(1, 3)):
        place = found
        while True:
            key = chance.choice(list(place))
            inner = place[key]
            if isinstance(inner, list) and inner and isinstance(inner[0], dict):
                inner = inner[0]
            if not isinstance(inner, dict) or not inner or chance.random() < 0.4:
                place[key] = chance.choice(_VALUES)
                break
            place = inner
    return json.dumps(found).encode()


# -- what becomes of folders


def _as_folder(path: Path, chance: random.Random) -> None:
    path.unlink()
    path.mkdir()


def _renamed(path: Path, chance: random.Random) -> None:
    names = [
        b"\xff\xfe.pkl",
        b"n" * 250 + b".onnx",
        "猫.joblib".encode(),
        b"new\nline.pkl",
        b".pkl",
    ]
    os.rename(path, os.path.join(os.fsencode(path.parent), chance.choice(names)))


def _round_link(path: Path, chance: random.Random) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _dead_link(path: Path, chance: random.Random) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def _pipe(path: Path, chance: random.Random) -> None:
    path.unlink()
    os.mkfifo(path)


def _device(path: Path, chance: random.Random) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def _gone(path: Path, chance: random.Random) -> None:
    path.unlink()


def _beside(path: Path, chance: random.Random) -> None:
    name = chance.choice(["model.pkl", "9" * 200, "٣", "model.onnx", "x.py", "config.pbtxt"])
    place = path.parent / name
    if not place.exists():
        place.mkdir()


_FOLDERS: Final[tuple[Callable[[Path, random.Random], None], ...]] = (
    _as_folder,
    _renamed,
    _round_link,
    _dead_link,
    _pipe,
    _device,
    _gone,
    _beside,
)


def written(folder: Path, seedling: Seedling, chance: random.Random) -> Path:
    """The artifact in a folder that is made anew, with something wrong with one file, or two."""
    shutil.rmtree(folder, ignore_errors=True)
    files = dict(seedling.files)
    for name in chance.sample(sorted(files), min(len(files), chance.choice((1, 1, 1, 2)))):
        files[name] = mutated(files[name], chance)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    if chance.random() < 0.15:
        chance.choice(_FOLDERS)(folder / chance.choice(sorted(files)), chance)
    return folder
