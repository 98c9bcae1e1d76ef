"""What came is not what was listed: whether the source has something else now is for its caller to find out."""

from __future__ import annotations


class Mismatch(Exception):
    """``file``: its name. ``told``: in words, what is wrong with it."""

    def __init__(self, file: str, told: str) -> None:
        super().__init__(f"{file}: {told}")
        self.file = file
        self.told = told
