"""What one agent is to say that its server can do: from the runtime as it is installed, and from the manifest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from overbook.runtimes.capabilities import attached_capabilities, own_process_bytes
from overbook.runtimes.install import capabilities


@dataclass(frozen=True, slots=True)
class Offer:
    """``own_process``: of the capabilities, those that cost a process per model, and bytes of such a process."""

    capabilities: tuple[str, ...]
    own_process: Mapping[str, int]


def installed_offer(runtime: str, extra: Iterable[str]) -> Offer:
    """Of a runtime that is started on this machine; ``extra``: words that the manifest adds. Raises UnknownRuntime."""
    words = tuple(dict.fromkeys((*capabilities(runtime), *extra)))
    return Offer(words, own_process_bytes(runtime, words, attached=False))


def attached_offer(runtime: str, extra: Iterable[str]) -> Offer:
    """Of a server that somebody else started: what its kind may have, as nobody can look. Raises UnknownRuntime."""
    words = tuple(dict.fromkeys((*attached_capabilities(runtime), *extra)))
    return Offer(words, own_process_bytes(runtime, words, attached=True))
