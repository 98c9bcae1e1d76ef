"""What an ensemble's config.pbtxt says of the models that it calls. Reads that file and nothing else."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from overbook.agent.servers.formats.errors import FormatError
from overbook.agent.servers.formats.reading import read_whole
from overbook.agent.servers.triton.pbtxt import ModelConfig, parse_config

log = logging.getLogger(__name__)

ENSEMBLE: Final = "ensemble"
# Bytes of a configuration.
MOST_CONFIG: Final = 256 << 10


def is_ensemble(config: ModelConfig) -> bool:
    return bool(config.HasField("ensemble_scheduling")) or config.platform == ENSEMBLE


def steps(config: ModelConfig) -> tuple[str, ...]:
    """Names of the models that it calls, each once, in their order."""
    return tuple(dict.fromkeys(step.model_name for step in config.ensemble_scheduling.step))


def callees(folder: Path) -> tuple[str, ...]:
    """Names of the models that the model in a folder calls; none where it is no ensemble that can be read.

    What is wrong with a configuration is said by who checks it, with all that the model is to be.
    """
    path = folder / "config.pbtxt"
    try:
        if not path.is_file():
            return ()
        config = parse_config(read_whole(path, MOST_CONFIG))
    except (FormatError, OSError, ValueError) as error:
        log.info("%s: %s", path, error)
        return ()
    return steps(config) if is_ensemble(config) else ()
