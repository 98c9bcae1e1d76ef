"""How much the control API takes of anybody, by name. Numbers only; docs/security.md says what each is against."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from overbook.manifests.located import MAX_DEPTH

_KIB: Final = 1024
_MIB: Final = 1024 * _KIB
# Of all that the process may have open, connections to the control API take at most one in so many.
_SHARE: Final = 4
_FEWEST: Final = 16


@dataclass(frozen=True, slots=True)
class Limits:
    """Of bodies: ``manifest_bytes`` those with manifests, ``secret_bytes`` those with a secret, ``other_bytes`` all
    others; ``held_bytes`` all of them together that are being read or worked on. ``body_seconds``: one has to be there
    after so long.

    Of connections: ``connections`` how many, ``waiting`` in how many of them somebody may wait for events,
    ``idle_seconds`` how long a request may take to begin, or an answer to be read on.

    Of JSON: ``values`` scalars, lists and objects in one body, ``depth`` how deep they may lie in each other.
    """

    # 10,000 models are about 3 MB and 200,000 values.
    manifest_bytes: int = 16 * _MIB
    # In JSON a character of a secret's text, which may have 64 KiB, may take six.
    secret_bytes: int = 512 * _KIB
    other_bytes: int = 64 * _KIB
    held_bytes: int = 64 * _MIB
    body_seconds: float = 60.0
    connections: int = 1024
    waiting: int = 256
    idle_seconds: float = 15.0
    values: int = 500_000
    # The list of manifests in its body lies around each.
    depth: int = MAX_DEPTH + 2


def within(descriptors: int) -> Limits:
    """The limits where the process may have so many files and connections open: most are for agents and gateways."""
    usual = Limits()
    connections = max(_FEWEST, min(usual.connections, descriptors // _SHARE))
    return replace(usual, connections=connections, waiting=min(usual.waiting, connections // 2))
