"""The words that models may require: who provides each, and what one more model of it costs. Data.

Words are exact. Those of Seldon Core 2's default servers are all here; who could not install them may still
attach a server that has them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from overbook.runtimes.catalogue import RUNTIMES, runtime

_MIB: Final = 1024 * 1024

# Words that only somebody else's build of a server can have.
_ATTACHED_ONLY: Final = {
    "mlserver": ("alibi-detect", "alibi-explain", "huggingface", "spark-mlib"),
    "triton": ("dali", "fil", "openvino", "tensorrt"),
}
# Bytes of the process that our build of a server starts for every model of a word, before the model is in it: measured,
# without the libraries that all processes share (docs/runtimes.md), and rounded up.
_OWN_PROCESS: Final = {
    "triton": {
        "python": 24 * _MIB,
        "onnx": 36 * _MIB,
        "pytorch": 160 * _MIB,
        "tensorflow": 64 * _MIB,
    },
}
# NVIDIA's build has the other backends inside its one process.
_OWN_PROCESS_ATTACHED: Final = {"triton": {"python": 24 * _MIB}}


@dataclass(frozen=True, slots=True)
class Source:
    """Where a word comes from. ``extra``: what must be installed into the runtime, "" for nothing.

    ``attached``: it cannot be installed, only be had from a server that somebody else runs.
    """

    word: str
    runtime: str
    extra: str = ""
    attached: bool = False


def sources() -> tuple[Source, ...]:
    """Every word with everybody who could provide it."""
    found: list[Source] = []
    for known in RUNTIMES:
        found += [Source(word, known.name) for word in known.capabilities]
        for extra in known.extras:
            found += [Source(word, known.name, extra.name) for word in extra.capabilities]
    had = {(each.runtime, each.word) for each in found}
    for name, words in _ATTACHED_ONLY.items():
        found += [Source(word, name, attached=True) for word in words if (name, word) not in had]
    return tuple(found)


def attached_capabilities(name: str) -> tuple[str, ...]:
    """What a server of this kind that somebody else started is taken to offer. Raises UnknownRuntime."""
    known = runtime(name)
    return known.offers(extra.name for extra in known.extras)


def own_process_bytes(name: str, words: Iterable[str], *, attached: bool) -> dict[str, int]:
    """Of these words, those for which the server starts a process per model, and its bytes without the model."""
    table = _OWN_PROCESS_ATTACHED if attached else _OWN_PROCESS
    floors = table.get(name, {})
    return {word: floors[word] for word in words if word in floors}
