"""No way to write the address of a metadata server gets past; all others are as near as they are."""

from __future__ import annotations

import pytest

from overbook.artifacts.sources.web.connect.zones import Zone, is_metadata, zone_of


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.0.1",
        "168.63.129.16",
        "100.100.100.200",
        "fe80::1",
        "fe80::1%eth0",
        "febf::1",
        "fd00:ec2::254",
        "fd00:ec2::254%lo",
        "fd20:ce::254",
        "::ffff:169.254.169.254",
        "::ffff:168.63.129.16",
        "2002:a9fe:a9fe::1",
        "64:ff9b::169.254.169.254",
    ],
)
def test_link_local_and_metadata_addresses_are_never_asked(address: str) -> None:
    assert zone_of(address) is Zone.NEVER


@pytest.mark.parametrize(
    ("address", "zone"),
    [
        ("127.0.0.1", Zone.LOOPBACK),
        ("127.9.9.9", Zone.LOOPBACK),
        ("0.0.0.0", Zone.LOOPBACK),
        ("::1", Zone.LOOPBACK),
        ("::", Zone.LOOPBACK),
        ("::ffff:127.0.0.1", Zone.LOOPBACK),
        ("10.0.0.1", Zone.PRIVATE),
        ("172.16.0.1", Zone.PRIVATE),
        ("192.168.1.1", Zone.PRIVATE),
        ("100.64.0.1", Zone.PRIVATE),
        ("fd12::1", Zone.PRIVATE),
        ("::ffff:10.1.2.3", Zone.PRIVATE),
        ("64:ff9b::10.0.0.1", Zone.PRIVATE),
        ("8.8.8.8", Zone.PUBLIC),
        ("2606:4700::1111", Zone.PUBLIC),
        ("::ffff:8.8.8.8", Zone.PUBLIC),
    ],
)
def test_addresses_are_as_near_as_they_are(address: str, zone: Zone) -> None:
    assert zone_of(address) is zone


@pytest.mark.parametrize("text", ["localhost", "127.1", "2130706433", "", "example.com"])
def test_what_is_no_address_is_said_to_be_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        zone_of(text)


def test_metadata_servers_are_known_by_name_too() -> None:
    assert is_metadata("metadata.google.internal")
    assert is_metadata("METADATA.google.internal.")
    assert not is_metadata("metadata.example.com")
