"""How long a stateful model of Triton keeps the state of a sequence between two of its requests. Reads config.pbtxt."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from overbook.agent.servers.formats.reading import read_whole
from overbook.agent.servers.triton.ensembles import MOST_CONFIG
from overbook.agent.servers.triton.pbtxt import parse_config

# Microseconds, where the configuration says nothing: as Triton has it.
_DEFAULT: Final = 1_000_000
# Seconds. Nobody keeps a model in memory for longer by a number in a file.
MOST: Final = 60.0


def sequence_idle(folder: Path) -> float:
    """Seconds; 0 for a model without state between requests. Raises FormatError and OSError."""
    path = folder / "config.pbtxt"
    if not path.is_file():
        return 0.0
    config = parse_config(read_whole(path, MOST_CONFIG))
    if not config.HasField("sequence_batching"):
        return 0.0
    idle = config.sequence_batching.max_sequence_idle_microseconds or _DEFAULT
    return float(min(MOST, idle / 1e6))
