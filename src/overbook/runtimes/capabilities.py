"""The words that models may require: who provides each, and what one more model of it costs.

Words are exact. Those of Seldon Core 2's default servers are all here; who could not install them may still
attach a server that has them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from overbook.runtimes.catalogue import RUNTIMES, runtime
from overbook.runtimes.server_kinds import SERVER_KINDS


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
    for name, kind in SERVER_KINDS.items():
        words = (word for word in kind.attached_only if (name, word) not in had)
        found += [Source(word, name, attached=True) for word in words]
    return tuple(found)


def attached_capabilities(name: str) -> tuple[str, ...]:
    """What a server of this kind that somebody else started is taken to offer. Raises UnknownRuntime."""
    known = runtime(name)
    return known.offers(extra.name for extra in known.extras)


def own_process_bytes(name: str, words: Iterable[str], *, attached: bool) -> dict[str, int]:
    """Of these words, those for which the server starts a process per model, and its bytes without the model.

    Raises UnknownRuntime.
    """
    kind = SERVER_KINDS[runtime(name).name]
    floors = kind.own_process_attached if attached else kind.own_process
    return {word: floors[word] for word in words if word in floors}
