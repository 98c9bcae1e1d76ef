"""How long the state of a sequence is kept, by what config.pbtxt says."""

from __future__ import annotations

from pathlib import Path

import pytest

from overbook.agent.servers.formats.errors import FormatError
from overbook.agent.servers.triton.sequences import MOST, sequence_idle
from tests.unit.agent.servers.triton.artifacts import config


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ('backend: "python"', 0.0),
        ("sequence_batching {}", 1.0),
        ("sequence_batching { max_sequence_idle_microseconds: 2500000 direct {} }", 2.5),
        ("sequence_batching { max_sequence_idle_microseconds: 18446744073709551615 }", MOST),
    ],
)
def test_what_the_configuration_says(tmp_path: Path, text: str, seconds: float) -> None:
    assert sequence_idle(tmp_path) == 0.0
    config(tmp_path, text)
    assert sequence_idle(tmp_path) == seconds


def test_what_is_no_configuration(tmp_path: Path) -> None:
    config(tmp_path, "sequence_batching {")
    with pytest.raises(FormatError):
        sequence_idle(tmp_path)
