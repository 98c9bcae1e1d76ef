"""Makes folders as optimum writes them when it exports transformers to ONNX: small networks whose answers are known.

The tokenizer is a real one, trained on a few sentences. A network looks up a vector for each token and one for each
position. A classifier takes the mean of all that are no padding; the first number of it is for good and against bad.
What nobody must look at is far off, or not there: the vector of the padding, and positions beyond the last.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from onnx import NodeProto, helper, numpy_helper

from tests.integration import onnx_models

CLIENTS_PYTHON = Path(__file__).parents[2] / ".venv-clients" / "bin" / "python"
LONGEST = 512
WIDTH = 64
# More than the tokenizer has, so that a model weighs 8 MB.
_ROWS = 32768
_GOOD = {"great": 8.0, "fun": 8.0, "wonderful": 8.0, "dull": -8.0, "long": -8.0}
# Words that mean about the same.
_LIKE = {"movie": "film", "wonderful": "great"}
_PADDING = 50.0
_TRAIN = """
import sys
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
made.normalizer = normalizers.BertNormalizer()
made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
made.decoder = decoders.WordPiece()
sentences = sys.stdin.read().splitlines()
trainer = trainers.WordPieceTrainer(vocab_size=2000, special_tokens=special, show_progress=False)
made.train_from_iterator(sentences, trainer)
ends = [(each, made.token_to_id(each)) for each in ("[CLS]", "[SEP]")]
made.post_processor = processors.TemplateProcessing(
    single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
)
made.save(sys.argv[1])
"""
_SENTENCES = """a great film , and great fun ! dull , and far too long .
a wonderful movie about the weather in a small town
the weather is dull and the film is long
it is not what was shown before ; who would want more of that ?
"""


def make_classifier(folder: Path) -> None:
    """Takes no types of tokens, as DistilBERT does not."""
    _describe(
        folder,
        architectures=["DistilBertForSequenceClassification"],
        model_type="distilbert",
        id2label={"0": "NEGATIVE", "1": "POSITIVE"},
        label2id={"NEGATIVE": 0, "POSITIVE": 1},
    )
    logits = np.zeros((WIDTH, 2), dtype=np.float32)
    logits[0] = [-1.0, 1.0]
    _save(
        folder,
        [
            helper.make_node("Cast", ["attention_mask"], ["mask"], to=1),
            helper.make_node("Unsqueeze", ["mask", "last"], ["columns"]),
            helper.make_node("Mul", ["vectors", "columns"], ["seen"]),
            helper.make_node("ReduceSum", ["seen", "second"], ["sums"], keepdims=0),
            helper.make_node("ReduceSum", ["columns", "second"], ["counts"], keepdims=0),
            helper.make_node("Div", ["sums", "counts"], ["means"]),
            helper.make_node("MatMul", ["means", "weights"], ["logits"]),
        ],
        {
            "last": np.array([2]),
            "second": np.array([1]),
            "weights": logits,
        },
        takes=["input_ids", "attention_mask"],
        output=("logits", ["batch_size", 2]),
    )


def make_embedder(folder: Path) -> None:
    """Takes types of tokens, as BERT does."""
    _describe(folder, architectures=["BertModel"], model_type="bert")
    types = np.zeros((2, WIDTH), dtype=np.float32)
    types[1] = _PADDING
    _save(
        folder,
        [
            helper.make_node("Gather", ["types", "token_type_ids"], ["typed"]),
            helper.make_node("Add", ["vectors", "typed"], ["last_hidden_state"]),
        ],
        {"types": types},
        takes=["input_ids", "attention_mask", "token_type_ids"],
        output=("last_hidden_state", ["batch_size", "sequence_length", WIDTH]),
    )


def _describe(folder: Path, **config: Any) -> None:
    folder.mkdir(parents=True)
    subprocess.run(
        [str(CLIENTS_PYTHON), "-c", _TRAIN, str(folder / "tokenizer.json")],
        input=_SENTENCES,
        text=True,
        check=True,
    )
    ids = _ids(folder)
    (folder / "vocab.txt").write_text(
        "".join(f"{each}\n" for each in sorted(ids, key=ids.__getitem__))
    )
    special = {
        f"{kind}_token": f"[{kind.upper()}]" for kind in ("pad", "unk", "cls", "sep", "mask")
    }
    written = {
        "config.json": {"max_position_embeddings": LONGEST, "pad_token_id": 0, **config},
        "special_tokens_map.json": special,
        "tokenizer_config.json": {"model_max_length": LONGEST, "do_lower_case": True, **special},
    }
    for name, content in written.items():
        (folder / name).write_text(json.dumps(content, indent=2))


def _ids(folder: Path) -> dict[str, int]:
    ids: dict[str, int] = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    return ids


def _vectors(ids: dict[str, int]) -> np.ndarray[Any, Any]:
    """A word has the same in each run, whatever number the tokenizer gave it."""
    vectors = np.zeros((_ROWS, WIDTH), dtype=np.float32)
    for word, number in ids.items():
        vectors[number] = _of(word) if word not in _LIKE else _of(_LIKE[word]) + 0.5 * _of(word)
    vectors[:, 0] = 0.0
    for word, good in _GOOD.items():
        vectors[ids[word], 0] = good
    vectors[ids["[PAD]"]] = _PADDING
    return vectors


def _of(word: str) -> np.ndarray[Any, Any]:
    return np.random.default_rng(list(word.encode())).normal(size=WIDTH)


def _save(
    folder: Path,
    nodes: list[NodeProto],
    constants: dict[str, np.ndarray[Any, Any]],
    *,
    takes: list[str],
    output: tuple[str, list[str | int]],
) -> None:
    positions = np.random.default_rng(1).normal(scale=0.05, size=(LONGEST, WIDTH))
    positions[:, 0] = 0.0
    constants = {
        "words": _vectors(_ids(folder)),
        "places": positions.astype(np.float32),
        "zero": np.array(0),
        "one": np.array(1),
        **constants,
    }
    axes = ["batch_size", "sequence_length"]
    onnx_models.save(
        folder / "model.onnx",
        [
            helper.make_node("Shape", ["input_ids"], ["shape"]),
            helper.make_node("Gather", ["shape", "one"], ["length"]),
            helper.make_node("Range", ["zero", "length", "one"], ["positions"]),
            helper.make_node("Gather", ["places", "positions"], ["placed"]),
            helper.make_node("Gather", ["words", "input_ids"], ["embedded"]),
            helper.make_node("Add", ["embedded", "placed"], ["vectors"]),
            *nodes,
        ],
        [onnx_models.value(name, "INT64", axes) for name in takes],
        [onnx_models.value(output[0], "FP32", output[1])],
        constants=[numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
