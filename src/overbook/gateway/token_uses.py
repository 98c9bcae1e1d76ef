"""Which tokens were used lately. Scripts in Envoy note it in memory that both share; what the gateway answers itself is
noted here. So no request waits for it, and no disk is in the way.
"""

from __future__ import annotations

import os
from typing import Final

# Bytes read so far, after which the memory is given back. What is written in that moment is lost, and noted again soon.
_MOST: Final = 256 * 1024
_PIECE: Final = 64 * 1024


class TokenUses:
    """``descriptor`` is what Envoy has to inherit, ``path`` how its scripts reach it there."""

    def __init__(self) -> None:
        self.descriptor: Final = os.memfd_create("overbook-token-uses", os.MFD_CLOEXEC)
        self.path: Final = f"/dev/fd/{self.descriptor}"
        self._read = 0
        self._noted: dict[str, float] = {}

    def note(self, name: str, now: float) -> None:
        """Somebody showed this token. Unix seconds."""
        self._noted[name] = max(now, self._noted.get(name, 0.0))

    def collect(self) -> None:
        """Read what the scripts have noted. Called now and then, or the shared memory grows with each request."""
        rest = b""
        while piece := os.pread(self.descriptor, _PIECE, self._read):
            self._read += len(piece)
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                name, _, at = line.decode("ascii", "replace").partition(" ")
                if at.isdecimal():
                    self.note(name, float(at))
        # A line that is still being written is read when it is whole.
        self._read -= len(rest)
        if self._read > _MOST:
            os.ftruncate(self.descriptor, 0)
            self._read = 0

    def take(self) -> dict[str, float]:
        """When each was used last, of those that were since this was asked last."""
        self.collect()
        taken, self._noted = self._noted, {}
        return taken

    def close(self) -> None:
        """Nothing is noted or taken from now on."""
        os.close(self.descriptor)
