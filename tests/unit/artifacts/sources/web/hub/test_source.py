"""The source of the hub, where nobody is asked: the files at a path, and the package that is missing."""

from __future__ import annotations

import sys

import pytest

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.sources.limits import FetchLimits
from overbook.artifacts.sources.protocol import RemoteFile, Wanted
from overbook.artifacts.sources.web.download import Downloader
from overbook.artifacts.sources.web.hub.address import parse
from overbook.artifacts.sources.web.hub.source import HubSource, below

FILES = tuple(
    RemoteFile(name, 1, "mark", origin=f"commit/{name}")
    for name in ("README.md", "onnx/model.onnx", "onnx/1/model.onnx", "onnxruntime.txt")
)


@pytest.mark.parametrize(
    ("path", "names", "single"),
    [
        ("", ["README.md", "onnx/model.onnx", "onnx/1/model.onnx", "onnxruntime.txt"], False),
        ("/onnx", ["model.onnx", "1/model.onnx"], False),
        ("/onnx/1", ["model.onnx"], False),
        ("/onnx/model.onnx", ["model.onnx"], True),
    ],
)
def test_what_lies_at_a_path(path: str, names: list[str], single: bool) -> None:
    files, alone = below(parse(f"hf://a/b{path}"), FILES)
    assert ([each.name for each in files], alone) == (names, single)
    assert all(each.origin.endswith(each.name) for each in files)


@pytest.mark.parametrize("path", ["onn", "onnx/model", "onnx/model.onnx/x"])
def test_a_path_that_is_not_there(path: str) -> None:
    with pytest.raises(SourceError) as raised:
        below(parse(f"hf://a/b@v1/{path}"), FILES)
    assert raised.value.trouble is Trouble.NOT_FOUND
    assert str(raised.value) == (
        f"hf://a/b@v1/{path}: there is neither a folder nor a file {path} at revision v1; expected a model's files"
    )


async def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.delitem(sys.modules, "overbook.artifacts.sources.web.hub.client", raising=False)
    with pytest.raises(SourceError) as raised:
        await HubSource(Downloader(FetchLimits())).look(Wanted("hf://a/b"), None)
    assert raised.value.trouble is Trouble.NOT_INSTALLED
    assert str(raised.value) == (
        "hf://a/b: hf:// needs the package huggingface-hub: pip install 'overbook[hub]'"
    )
