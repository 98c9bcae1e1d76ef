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


def answered(samples: Any, name: str, asked: Any) -> None:
    text = samples.see(name, asked)
    if text is not None:
        samples.keep(name, text)


def test_one_that_fails_is_not_kept() -> None:
    samples = SAMPLES.Samples()
    assert samples.see("a", request(1, text="fails")) == b"fails"
    assert samples.take("a") is None
    answered(samples, "a", request(1, text="is answered"))
    assert samples.take("a") == b"is answered"


def test_of_many_at_once_one_is_kept() -> None:
    samples = SAMPLES.Samples()
    texts = [samples.see("a", request(1, text=text)) for text in ("first", "second")]
    for text in texts:
        samples.keep("a", text)
    assert samples.take("a") == b"first"
    assert samples.take("a") is None


def test_the_first_is_kept_and_told_once() -> None:
    samples = SAMPLES.Samples()
    assert samples.take("a") is None
    answered(samples, "a", request(1, text="first"))
    answered(samples, "a", request(1, text="second"))
    answered(samples, "b", request(1, text="of another"))
    assert samples.take("a") == b"first"
    answered(samples, "a", request(1, text="third"))
    assert samples.take("a") is None
    assert samples.take("b") == b"of another"


def test_neither_large_ones_nor_what_cannot_be_written_down() -> None:
    samples = SAMPLES.Samples()
    answered(samples, "a", request(1000, 1000))
    answered(samples, "a", request(1, text="x" * 2_000_000))
    answered(samples, "a", request(1, text=""))
    assert samples.take("a") is None
    answered(samples, "a", request(4, 4, text="small"))
    assert samples.take("a") == b"small"


def test_what_lies_about_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SAMPLES, "_MOST_BYTES_TOGETHER", 10)
    monkeypatch.setattr(SAMPLES, "_REMEMBERED", 2)
    samples = SAMPLES.Samples()
    answered(samples, "a", request(1, text="x" * 10))
    answered(samples, "b", request(1, text="one too many"))
    assert samples.take("b") is None
    assert samples.take("a") == b"x" * 10
    answered(samples, "b", request(1, text="b"))
    answered(samples, "c", request(1, text="c"))
    answered(samples, "a", request(1, text="again"))
    assert samples.take("a") == b"again", "it was forgotten that there had been one"
