"""The source of registries, where nobody is asked."""

from __future__ import annotations

import sys

import pytest

from overbook.artifacts.archives import Bounds
from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.sources.limits import FetchLimits
from overbook.artifacts.sources.protocol import Wanted
from overbook.artifacts.sources.web.download import Downloader
from overbook.artifacts.sources.web.registry.source import RegistrySource, ToldOnce


async def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(sys.modules):
        if name == "oras" or name.startswith(
            ("oras.", "overbook.artifacts.sources.web.registry.client")
        ):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "oras", None)
    source = RegistrySource(Downloader(FetchLimits()), Bounds(bytes=1))
    with pytest.raises(SourceError) as raised:
        await source.look(Wanted("oci://r.example/a"), None)
    assert raised.value.trouble is Trouble.NOT_INSTALLED
    assert str(raised.value) == (
        "oci://r.example/a:latest: oci:// needs the package oras: pip install 'overbook[oci]'"
    )


def test_what_was_told_in_an_earlier_try_is_not_told_again() -> None:
    told: list[int] = []
    progress = ToldOnce(told.append)
    for each in (10, 20):
        progress(each)
    progress.begin()
    # The first two files are there, and count as a whole; then comes more.
    for each in (25, 10, 5):
        progress(each)
    assert told == [10, 20, 5, 5]
    assert progress.bytes == 40
