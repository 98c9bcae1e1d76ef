"""Where the files of a certificate are. Values only, so that whatever takes options can import them quickly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

# What every part is called in its certificate, wherever it runs.
PEER_NAME: Final = "peer.overbook.internal"


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files. ``client_ca``: clients have to show a certificate of one of the authorities in it.

    ``named``: a name that the certificate has to be for; "": any.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None
    named: str = ""

    @property
    def paths(self) -> tuple[Path, ...]:
        """Those that are named."""
        return tuple(each for each in (self.certificate, self.key, self.client_ca) if each)
