"""The one error that this package shows to others."""

from __future__ import annotations


class ArtifactError(Exception):
    """The artifact could not be brought here. One line: what, why, and what to do about it."""
