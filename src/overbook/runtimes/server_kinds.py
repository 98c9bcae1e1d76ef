"""What Overbook knows of each kind of inference server, in one table: a new kind is an entry here, an adapter in
`agent.servers.factory`, and, where we ship it, a `Runtime` in `catalogue`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_MIB: Final = 1024 * 1024
# Calls of the protocol that touch the machine of a server, by the word with which a Server allows them.
SHARED_MEMORY: Final = "sharedMemory"
TRACE: Final = "trace"
LOG: Final = "log"
REPOSITORY: Final = "repository"


@dataclass(frozen=True, slots=True)
class ServerKind:
    """``sign``: names of files (relative paths, whole) that only a model made for this kind has.

    ``attached_only``: words that only somebody else's build of it can offer. ``own_process``: for which words our build
    starts a process per model, and the bytes of such a process before the model is in it: measured, without the
    libraries that all processes share (docs/runtimes.md), and rounded up. ``own_process_attached``: the same of the
    vendor's build. ``allowable``: which calls that touch its machine it has.
    """

    sign: re.Pattern[str]
    attached_only: tuple[str, ...]
    own_process: Mapping[str, int]
    own_process_attached: Mapping[str, int]
    allowable: tuple[str, ...]


# Every kind can be attached.
SERVER_KINDS: Final[Mapping[str, ServerKind]] = {
    "mlserver": ServerKind(
        sign=re.compile(r"(.*/)?model-settings\.json"),
        attached_only=("alibi-detect", "alibi-explain", "huggingface", "spark-mlib"),
        own_process={},
        own_process_attached={},
        allowable=(REPOSITORY,),
    ),
    "triton": ServerKind(
        sign=re.compile(r"(.*/)?(config\.pbtxt|[0-9]+/model\.py)"),
        attached_only=("dali", "fil", "openvino", "tensorrt"),
        own_process={
            "python": 24 * _MIB,
            "onnx": 36 * _MIB,
            "pytorch": 160 * _MIB,
            "tensorflow": 64 * _MIB,
        },
        # NVIDIA's build has the other backends inside its one process.
        own_process_attached={"python": 24 * _MIB},
        allowable=(SHARED_MEMORY, TRACE, LOG, REPOSITORY),
    ),
}
