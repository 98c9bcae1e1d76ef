"""The first request of a model is kept until it is taken, if it is small and can be written down."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.unit.runtimes.plugins import plugin_module

SAMPLES = plugin_module("mlserver", "overbook_mlserver/samples.py")


def request(*shape: int, text: str = "{}") -> Any:
    def dump(**_: Any) -> str:
        if not text:
            raise ValueError("bytes that are no text")
        return text

    return SimpleNamespace(inputs=[SimpleNamespace(shape=list(shape))], model_dump_json=dump)


def test_the_first_is_kept_and_told_once() -> None:
    samples = SAMPLES.Samples()
    assert samples.take("a") is None
    samples.see("a", request(1, text="first"))
    samples.see("a", request(1, text="second"))
    samples.see("b", request(1, text="of another"))
    assert samples.take("a") == b"first"
    samples.see("a", request(1, text="third"))
    assert samples.take("a") is None
    assert samples.take("b") == b"of another"


def test_neither_large_ones_nor_what_cannot_be_written_down() -> None:
    samples = SAMPLES.Samples()
    samples.see("a", request(1000, 1000))
    samples.see("a", request(1, text="x" * 2_000_000))
    samples.see("a", request(1, text=""))
    assert samples.take("a") is None
    samples.see("a", request(4, 4, text="small"))
    assert samples.take("a") == b"small"


def test_what_lies_about_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SAMPLES, "_MOST_BYTES_TOGETHER", 10)
    monkeypatch.setattr(SAMPLES, "_REMEMBERED", 2)
    samples = SAMPLES.Samples()
    samples.see("a", request(1, text="x" * 10))
    samples.see("b", request(1, text="one too many"))
    assert samples.take("b") is None
    assert samples.take("a") == b"x" * 10
    samples.see("b", request(1, text="b"))
    samples.see("c", request(1, text="c"))
    samples.see("a", request(1, text="again"))
    assert samples.take("a") == b"again", "it was forgotten that there had been one"
