"""URLs as users write them: read alike for REST and gRPC, or refused in words."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from overbook.client.addresses import Address, address
from overbook.client.control import ControlClient
from overbook.client.errors import BadUrl
from overbook.client.inference_grpc import GrpcInference


@pytest.mark.parametrize("use", [ControlClient, GrpcInference])
@pytest.mark.parametrize(
    "url",
    [
        *("ftp://x", "grpc://x:1", "grpcs://x:1", "unix:///x", "http://", ""),
        *("http://x:port", "https://x:99999", "x:port", "http://[::1"),
    ],
)
def test_addresses_that_are_none(use: Callable[[str], object], url: str) -> None:
    with pytest.raises(BadUrl, match=r"expected http://HOST:PORT or https://HOST:PORT") as refused:
        use(url)
    assert str(refused.value).startswith(repr(url))


@pytest.mark.parametrize(
    ("url", "read", "target"),
    [
        ("x:1", Address("http://x:1", "x", 1, "", False), "x:1"),
        ("http://x", Address("http://x", "x", 80, "", False), "x:80"),
        ("https://x/a/", Address("https://x/a", "x", 443, "/a", True), "x:443"),
        ("https://[::1]:9", Address("https://[::1]:9", "::1", 9, "", True), "[::1]:9"),
        ("http://me:secret@x:1", Address("http://me:secret@x:1", "x", 1, "", False), "x:1"),
        ("http://x:0", Address("http://x:0", "x", 0, "", False), "x:0"),
    ],
)
def test_what_an_address_says(url: str, read: Address, target: str) -> None:
    assert address(url) == read
    assert read.target == target
