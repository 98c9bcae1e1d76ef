"""Triton's configuration as text: read, written, and refused with the place."""

from __future__ import annotations

import pytest

from overbook.agent.servers.formats.errors import FormatError
from overbook.agent.servers.triton.pbtxt import (
    data_type_name,
    data_type_number,
    new_config,
    parse_config,
    print_config,
)


def test_what_is_written_is_read_again() -> None:
    config = new_config()
    config.name = "m"
    config.input.add(name="x", data_type=data_type_number("TYPE_STRING"), dims=[-1, 3])
    assert parse_config(print_config(config).encode()) == config
    assert data_type_name(config.input[0].data_type) == "TYPE_STRING"


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (b'name: "m"\nbatch: 3\n', 'line 2, column 1: .* no field named "batch"'),
        (b"max_batch_size: many", "line 1, column 17"),
        (b'input [ { name: "x" }', "line 1"),
        (b'name: "m"\nplatform: "\xff"', "line 2: not UTF-8"),
    ],
)
def test_errors_name_the_place_in_one_line(content: bytes, place: str) -> None:
    with pytest.raises(FormatError, match=place) as caught:
        parse_config(content)
    assert "\n" not in str(caught.value)
