"""Where the Overbook of a state folder answers over TLS: a file there, by which this user's command line finds it and
knows its certificate, whatever name that is for.

Whoever can write the file could as well stop that Overbook: the folder is this user's alone.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from overbook.tls.following import FollowedPair
    from overbook.tls.pair import Pair

HERE: Final = "address.json"


@dataclass(frozen=True, slots=True)
class Here:
    """URLs of the control API and of the data plane, and the certificate of both, in PEM; ``name``: one of its own."""

    api: str
    data: str
    certificate: str
    name: str


@contextlib.contextmanager
def told(state_dir: Path, api: str, data: str, followed: FollowedPair | None) -> Iterator[None]:
    """The file is there while the block runs, and has the certificate that is in use. Without TLS there is none."""
    path = state_dir / HERE
    path.unlink(missing_ok=True)
    if followed is None:
        yield
        return

    def write(pair: Pair) -> None:
        _put(path, Here(api, data, pair.leaf.decode(), next(iter(pair.names), "")))

    write(followed.current)
    followed.on_change(write)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def found(state_dir: Path) -> Here | None:
    """What is told there; None when nothing is, or nothing of this form."""
    try:
        content = json.loads((state_dir / HERE).read_bytes())
        here = Here(**content)
    except (OSError, ValueError, TypeError):
        return None
    return here if all(isinstance(each, str) for each in asdict(here).values()) else None


def _put(path: Path, here: Here) -> None:
    """In one step, for this user alone."""
    beside = path.with_name(f".{path.name}.new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w") as file:
        json.dump(asdict(here), file)
    beside.rename(path)
