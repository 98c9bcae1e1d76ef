"""Which failures of a model may be gone at the next try, by what raised them and by their words. Pure.

Everything else is taken to lie in the content: the same files, loaded in the same way, are refused again.
"""

from __future__ import annotations

import re
from typing import Final

from overbook.agent.servers.protocol import ModelRejected
from overbook.artifacts.errors import ArtifactError

_PASSING: Final = re.compile(
    # Memory and disk.
    r"memoryerror|bad_?alloc|out of memory|(unable|cannot|failed) to allocate|cannot allocate|no space left|"
    r"disk quota|too many open files|"
    # The network, and who is at its other end.
    r"connection (refused|reset|aborted|closed|error|timed)|connection\w*error|(could not|cannot|failed to) connect|"
    r"network is|unreachable|name resolution|timeouterror|timed out|deadline exceeded|temporar(y failure|ily)|"
    r"service unavailable|statuscode\.unavailable|too many requests|try again",
    re.IGNORECASE,
)


def is_lasting(error: ArtifactError | ModelRejected) -> bool:
    """Whether the same content would be refused again. What could not be fetched may be there next time."""
    return isinstance(error, ModelRejected) and not error.passing and not is_passing(str(error))


def is_passing(reason: str) -> bool:
    """Whether the reason names what the machine, the network or another service was short of."""
    return _PASSING.search(reason) is not None
