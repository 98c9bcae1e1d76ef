"""What can be wrong with a secret, in words that never hold what is in it."""

from __future__ import annotations

from overbook.artifacts.errors import ArtifactError, SourceError, Trouble


class SecretError(SourceError):
    """A secret is not known, or cannot be understood. One line: which one, where it was, and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(Trouble.BAD_SECRET, message)


class SealError(ArtifactError):
    """Something cannot be sealed or opened: the key is missing, unusable or another one. One line, with what to do."""
