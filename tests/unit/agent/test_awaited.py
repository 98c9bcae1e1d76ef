"""What a request is told of files that did not come in time."""

from __future__ import annotations

import pytest

from overbook.agent.awaited import what_is_awaited
from overbook.artifacts.transfer import Transferred

GIB = 1 << 30
NOTHING = Transferred(0, GIB, 0.0, None)


@pytest.mark.parametrize(
    ("transfer", "failure", "delay", "retry_in", "told"),
    [
        (None, "", "", None, "are looked for where they come from"),
        (NOTHING, "", "", None, "are about to be fetched"),
        (Transferred(GIB // 4, GIB, 0.0, None), "", "", None, "are being fetched: 25% of 1GiB"),
        (
            Transferred(GIB // 4, GIB, 8.0 * (1 << 20), 96.4),
            "",
            "",
            None,
            "are being fetched: 25% of 1GiB, 8MiB/s, 96 s left",
        ),
        (Transferred(2048, None, 1024.0, None), "", "", None, "are being fetched: 2KiB, 1KiB/s"),
        (None, "it is away", "", 39.7, "are tried again in 40 s: it is away"),
        (NOTHING, "it is away", "", None, "are tried again just now: it is away"),
        (NOTHING, "", "waiting for room", None, "are not here yet: waiting for room"),
    ],
)
def test_words(
    transfer: Transferred | None, failure: str, delay: str, retry_in: float | None, told: str
) -> None:
    found = what_is_awaited(transfer, failure=failure, delay=delay, retry_in=retry_in)
    assert found == told
