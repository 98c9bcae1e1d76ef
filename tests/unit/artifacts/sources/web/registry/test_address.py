"""Addresses of registries: what they say, and which are none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.sources.web.registry.address import RegistryAddress, parse

DIGEST = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("oci://ghcr.io/a/b", RegistryAddress("ghcr.io", "a/b")),
        ("oci://ghcr.io/a/b:v1", RegistryAddress("ghcr.io", "a/b", "v1")),
        (f"oci://ghcr.io/b@{DIGEST}", RegistryAddress("ghcr.io", "b", "latest", DIGEST)),
        (f"oci://ghcr.io/b:v1@{DIGEST}", RegistryAddress("ghcr.io", "b", "v1", DIGEST)),
        ("oci://localhost/b", RegistryAddress("localhost", "b")),
        ("oci://host:5000/b:1", RegistryAddress("host:5000", "b", "1")),
        ("oci://[::1]:5000/a/b", RegistryAddress("[::1]:5000", "a/b")),
        ("oci://docker.io/redis", RegistryAddress("docker.io", "library/redis")),
        ("oci://docker.io/a/b", RegistryAddress("docker.io", "a/b")),
        ("oci://h.example/a__b/c-d.e", RegistryAddress("h.example", "a__b/c-d.e")),
    ],
)
def test_what_they_say(uri: str, expected: RegistryAddress) -> None:
    assert parse(uri) == expected


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("oci://", "the host ''"),
        ("oci:///a", "the host ''"),
        ("oci://a/b", "'a' is no host of a registry; for Docker's own write oci://docker.io/"),
        ("oci://ghcr.io", "the repository ''"),
        ("oci://ghcr.io/", "the repository ''"),
        ("oci://ghcr.io/A", "the repository 'A'"),
        ("oci://ghcr.io/a//b", "the repository 'a//b'"),
        ("oci://ghcr.io/../b", "the repository '../b'"),
        ("oci://ghcr.io/a/..", "the repository 'a/..'"),
        ("oci://ghcr.io/a?b", "the repository 'a?b'"),
        ("oci://ghcr.io/a%2f", "the repository 'a%2f'"),
        ("oci://ghcr.io/" + "a" * 256, "the repository"),
        ("oci://ghcr.io/a:", "the tag ''"),
        ("oci://ghcr.io/a:b/c", "the tag 'b/c'"),
        ("oci://ghcr.io/a:.b", "the tag '.b'"),
        ("oci://ghcr.io/a:b\n", r"the tag 'b\n'"),
        ("oci://ghcr.io/a@", "the digest ''"),
        ("oci://ghcr.io/a@sha512:00", "the digest 'sha512:00'"),
        ("oci://ghcr.io/a@" + DIGEST.upper(), "the digest"),
        ("oci://gh cr.io/a", "the host 'gh cr.io'"),
        ("oci://ghcr..io/a", "the host 'ghcr..io'"),
        ("oci://ghcr.io:0/a", "the host 'ghcr.io:0'"),
        ("oci://ghcr.io:99999/a", "the host 'ghcr.io:99999'"),
        ("oci://ghcr.io:x/a", "the host 'ghcr.io:x'"),
        ("oci://-x.io/a", "the host '-x.io'"),
    ],
)
def test_which_are_none(uri: str, why: str) -> None:
    with pytest.raises(SourceError) as raised:
        parse(uri)
    assert raised.value.trouble is Trouble.BAD_ADDRESS
    message = str(raised.value)
    assert why in message
    assert message.endswith("expected oci://HOST[:PORT]/REPOSITORY[:TAG|@sha256:DIGEST]")
    assert "\n" not in message


def test_a_password_in_an_address_is_not_repeated() -> None:
    with pytest.raises(SourceError) as raised:
        parse("oci://user:SECRET@ghcr.io/a")
    assert "SECRET" not in str(raised.value)
    assert "ghcr.io/a" in str(raised.value)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("x.localhost:1", True),
        ("127.0.0.1:5000", True),
        ("127.8.9.1", True),
        ("[::1]:5000", True),
        ("[::2]:5000", False),
        ("10.0.0.1:5000", False),
        ("localhost.example", False),
        ("ghcr.io", False),
        ("host:5000", False),
    ],
)
def test_which_hosts_are_this_machine(host: str, loopback: bool) -> None:
    assert RegistryAddress(host, "a").loopback is loopback


def test_whom_to_ask_and_for_what() -> None:
    assert RegistryAddress("docker.io", "library/a").asked == "registry-1.docker.io"
    assert RegistryAddress("ghcr.io", "a").asked == "ghcr.io"
    assert RegistryAddress("ghcr.io", "a", "v1").reference == "v1"
    assert RegistryAddress("ghcr.io", "a", "v1", DIGEST).reference == DIGEST


def outcome(uri: str) -> RegistryAddress | SourceError:
    try:
        return parse(uri)
    except SourceError as error:
        return error


@given(
    st.text("aZ1/@:.-_%2F \\\n", max_size=30), st.sampled_from(("", "h.io/", "h.io/a:", "h.io/a@"))
)
def test_whatever_is_taken_is_written_so_that_it_is_taken_again(text: str, begin: str) -> None:
    found = outcome(f"oci://{begin}{text}")
    if isinstance(found, SourceError):
        assert found.trouble is Trouble.BAD_ADDRESS
        assert "\n" not in str(found)
        return
    assert ".." not in found.repository
    assert parse(str(found)) == found
