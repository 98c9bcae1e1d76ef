"""What can be chosen about the demo. Only values live here, so that the command line imports it quickly."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

DEFAULT_MODELS: Final = 40
DEFAULT_SECONDS: Final = 20.0
DEFAULT_PORT: Final = 9000
DEFAULT_API_PORT: Final = 9001
DEFAULT_SEED: Final = 7


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """`state_dir`: None for a folder of the demo's own below Overbook's. `seconds`: of traffic.

    The ports are wishes: when one is taken, a free one is used and shown. `keep`: leave the state of
    Overbook (not only the trained models) for a look afterwards.
    """

    state_dir: Path | None = None
    models: int = DEFAULT_MODELS
    seconds: float = DEFAULT_SECONDS
    port: int = DEFAULT_PORT
    api_port: int = DEFAULT_API_PORT
    keep: bool = False
    seed: int = DEFAULT_SEED
