from __future__ import annotations

import pytest

from overbook.residency.sizes import in_words


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1536, "1536 bytes (1.5 KiB)"),
        (-2048, "-2048 bytes (-2.0 KiB)"),
        (1 << 20, "1048576 bytes (1.0 MiB)"),
        (5 << 29, "2684354560 bytes (2.5 GiB)"),
    ],
)
def test_exact_and_readable(size: int, words: str) -> None:
    assert in_words(size) == words
