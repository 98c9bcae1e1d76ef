"""What a source says of sizes is not to be trusted."""

from __future__ import annotations

import pytest

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.fetching import refuse_sizes
from overbook.artifacts.sources.protocol import Listing, RemoteFile


@pytest.mark.parametrize("sizes", [(-5,), (10**30,), (1 << 50, 1 << 50)])
def test_sizes_that_no_disk_has(sizes: tuple[int, ...]) -> None:
    files = tuple(RemoteFile(f"f{number}", size, "m") for number, size in enumerate(sizes))
    with pytest.raises(SourceError, match="said to have") as raised:
        refuse_sizes(Listing(files), "http://h/m/")
    assert raised.value.trouble is Trouble.REFUSED


def test_other_sizes() -> None:
    refuse_sizes(Listing((RemoteFile("a", 0, ""), RemoteFile("b", None, ""))), "http://h/m/")
