"""Requirement words as data: Seldon's are all known, and attached servers are taken to have every extra."""

from __future__ import annotations

import pytest

from overbook.runtimes.capabilities import attached_capabilities, own_process_bytes, sources
from overbook.runtimes.catalogue import UnknownRuntime

SELDON = {
    *("mlserver", "sklearn", "xgboost", "lightgbm", "mlflow", "huggingface", "python"),
    *("alibi-detect", "alibi-explain", "spark-mlib", "tensorrt", "dali", "fil", "openvino"),
}


def test_seldons_words_are_known() -> None:
    assert {each.word for each in sources()} >= SELDON


def test_nobody_is_named_twice_for_a_word() -> None:
    named = [(each.runtime, each.word) for each in sources()]
    assert len(named) == len(set(named))


def test_an_attached_server_may_have_every_extra() -> None:
    assert {"mlserver", "sklearn", "onnx", "lightgbm"} <= set(attached_capabilities("mlserver"))
    with pytest.raises(UnknownRuntime):
        attached_capabilities("nothing")


def test_a_process_per_model_is_a_matter_of_runtime_and_build() -> None:
    words = ("triton", "python", "onnx")
    ours = own_process_bytes("triton", words, attached=False)
    assert ours.keys() == {"python", "onnx"}
    assert all(each > 10_000_000 for each in ours.values())
    assert own_process_bytes("triton", words, attached=True).keys() == {"python"}
    assert own_process_bytes("mlserver", words, attached=False) == {}
