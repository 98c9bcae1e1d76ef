"""One secret: an rclone remote, as Seldon has it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RemoteSecret:
    """``secret``: what people call it. ``name``, ``type``, ``parameters``: the remote's, as rclone has them.

    Its parameters are in no text that is made of it.
    """

    secret: str
    name: str
    type: str
    parameters: Mapping[str, str] = field(repr=False)
