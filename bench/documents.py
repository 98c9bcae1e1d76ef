"""Manifests as the benchmarks apply them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from overbook.client.http import JsonObject


def server_document(name: str, *, memory: int, extras: Sequence[str] = ()) -> JsonObject:
    """A Server of the runtime of that name, with room to register anything. ``memory`` in bytes."""
    spec: JsonObject = {
        "serverConfig": name,
        "memory": memory,
        "overcommitPercentage": 1_000_000,
        "extraCapabilities": [*extras],
    }
    return _document("Server", name, spec)


def model_document(
    name: str,
    home: Path | str,
    requirements: Sequence[str],
    *,
    memory: int | None = None,
    pinned: bool = False,
    more: JsonObject | None = None,
) -> JsonObject:
    """``home``: a path, or an address. ``memory`` in bytes; None declares nothing. ``more``: of the spec."""
    spec: JsonObject = {
        "storageUri": str(home),
        "requirements": [*requirements],
        "pinned": pinned,
        **(more or {}),
    }
    if memory is not None:
        spec["memory"] = memory
    return _document("Model", name, spec)


def _document(kind: str, name: str, spec: JsonObject) -> JsonObject:
    return {
        "apiVersion": "overbook.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": spec,
    }
