"""The Server that `up` makes where there is none, and what is said of it: how much may be registered there, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from overbook.client.http import JsonObject
from overbook.manifests.quantities import format_bytes
from overbook.scheduler.part import OVERCOMMIT_VARIABLE

FIRST_SERVER: Final[JsonObject] = {
    "apiVersion": "overbook.dev/v1alpha1",
    "kind": "Server",
    "metadata": {"name": "mlserver"},
    "spec": {"serverConfig": "mlserver"},
}
# From here on there is something to see: models leave memory for others.
_TELLING: Final = 50


def said(
    memory: int, overcommit: int, *, option: int | None, environ: Mapping[str, str]
) -> list[str]:
    """Lines for people. ``option``: what `--overcommit` said, None when it was not given."""
    if option is not None:
        why = "as --overcommit says"
    elif environ.get(OVERCOMMIT_VARIABLE, "").strip():
        why = f"as {OVERCOMMIT_VARIABLE} says"
    else:
        why = "Seldon's default"
    lines = [
        f"no Server given: mlserver with {format_bytes(memory)} for models; "
        f"{overcommit} % more may be registered than fit ({why})"
    ]
    if overcommit < _TELLING:
        lines.append(
            "`up --overcommit 100` takes twice as many models as fit; `overbook demo` shows how that goes"
        )
    return lines
