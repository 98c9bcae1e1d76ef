"""What one agent is to say that its server can do: from the runtime as it is installed, and from the manifest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from overbook.runtimes.capabilities import attached_capabilities, own_process_bytes
from overbook.runtimes.catalogue import runtime
from overbook.runtimes.install import RuntimeEnvironment
from overbook.runtimes.installed import installed
from overbook.runtimes.recipe import offered


@dataclass(frozen=True, slots=True)
class Offer:
    """``own_process``: of the capabilities, those that cost a process per model, and bytes of such a process."""

    capabilities: tuple[str, ...]
    own_process: Mapping[str, int]


def installed_offer(made: RuntimeEnvironment, extra: Iterable[str]) -> Offer:
    """Of a server that is started on this machine, with the versions of what it finds there. Blocks.

    ``extra``: words that the manifest adds.
    """
    serves = (*runtime(made.name).offers(made.extras), *extra)
    words = tuple(dict.fromkeys((*serves, *offered(installed(made.root)))))
    return Offer(words, own_process_bytes(made.name, words, attached=False))


def attached_offer(name: str, extra: Iterable[str]) -> Offer:
    """Of a server that somebody else started: what its kind may have, as nobody can look. Raises UnknownRuntime."""
    words = tuple(dict.fromkeys((*attached_capabilities(name), *extra)))
    return Offer(words, own_process_bytes(name, words, attached=True))
