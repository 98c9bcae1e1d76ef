"""What was found out about an artifact when its files were looked at, as text that outlives a restart: whoever knows it
need not look again, nor have the files.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from overbook.agent.kinds import ArtifactKind


@dataclass(frozen=True, slots=True)
class Facts:
    """``sequence_idle``: see `Register`. ``made_for``: the runtime in whose own format the files are, "" where that
    does not show; ``callees``: models that the files say they call. ``pickled``: some of its files are pickles; None
    where nobody has looked.
    """

    kind: ArtifactKind
    sequence_idle: float = 0.0
    made_for: str = ""
    callees: tuple[str, ...] = ()
    pickled: bool | None = None

    @property
    def text(self) -> str:
        return json.dumps(
            {
                "kind": [self.kind.word, self.kind.bytes],
                "sequence_idle": self.sequence_idle,
                "made_for": self.made_for,
                "callees": self.callees,
                "pickled": self.pickled,
            }
        )


def facts_in(text: str) -> Facts | None:
    """None when there are none, or they cannot be read."""
    try:
        found = json.loads(text)
        word, size = found["kind"]
        pickled = found["pickled"]
        return Facts(
            ArtifactKind(str(word), int(size)),
            sequence_idle=float(found["sequence_idle"]),
            made_for=str(found["made_for"]),
            callees=tuple(map(str, found["callees"])),
            pickled=None if pickled is None else bool(pickled),
        )
    except (ValueError, KeyError, TypeError, OverflowError):
        return None
