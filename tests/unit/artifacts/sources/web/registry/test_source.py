"""The source of registries, where nobody is asked."""

from __future__ import annotations

import sys

import pytest

from overbook.artifacts.archives import Bounds
from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.sources.limits import FetchLimits
from overbook.artifacts.sources.protocol import Wanted
from overbook.artifacts.sources.web.download import Downloader
from overbook.artifacts.sources.web.registry.source import RegistrySource


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
