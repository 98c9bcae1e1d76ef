"""One request of a model is kept for whoever asked for it, if it is small and can be written down."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from tests.unit.runtimes.plugins import plugin_module

SAMPLES = plugin_module("mlserver", "overbook_mlserver/samples.py")


def request(*shape: int, text: str = "{}") -> Any:
    def dump(**_: Any) -> str:
        if not text:
            raise ValueError("bytes that are no text")
        return text

    return SimpleNamespace(inputs=[SimpleNamespace(shape=list(shape))], model_dump_json=dump)


def test_the_first_after_somebody_asked() -> None:
    samples = SAMPLES.Samples()
    samples.see("a", request(1, text="too early"))
    assert samples.take("a") is None
    samples.see("b", request(1, text="of another"))
    samples.see("a", request(1, text="first"))
    samples.see("a", request(1, text="second"))
    assert samples.take("a") == b"first"
    assert samples.take("a") is None


def test_neither_large_ones_nor_what_cannot_be_written_down() -> None:
    samples = SAMPLES.Samples()
    samples.take("a")
    samples.see("a", request(1000, 1000))
    samples.see("a", request(1, text="x" * 1_000_000))
    samples.see("a", request(1, text=""))
    assert samples.take("a") is None
    samples.see("a", request(4, 4, text="small"))
    assert samples.take("a") == b"small"
