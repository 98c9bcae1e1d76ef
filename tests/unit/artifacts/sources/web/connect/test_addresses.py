"""Addresses: which are refused, what of them is shown, and where redirects may lead."""

from __future__ import annotations

import pytest
from yarl import URL

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.sources.web.connect.addresses import checked, led_to, same_origin, shown

SIGNED = (
    "https://store.example:8443/models/a%2Fb.bin?X-Amz-Credential=AKIA%2Fx&X-Amz-Signature=5e11"
)


@pytest.mark.parametrize(
    "address",
    [
        "ftp://host/x",
        "file:///etc/passwd",
        "http:///x",
        "http://",
        "https:x",
        "http://host:99999/",
        "http://host:port/",
        "http://2130706433/",
        "http://127.1/",
        "http://0x7f000001/",
        "http://0177.0.0.1/",
        "http://1.2.3.4.5/",
        "http://256.1.1.1/",
        "http://127.0.0.1./",
        "http://a b/",
        "http://a%00b/",
        "http://a%2eb/",
        "",
    ],
)
def test_what_is_no_address_of_http_is_refused(address: str) -> None:
    with pytest.raises(SourceError) as raised:
        checked(address)
    assert raised.value.trouble is Trouble.BAD_ADDRESS
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "address",
    ["http://eva:t0psecret@host/x", "http://:t0psecret@host/", "http://a:t0psecret@h:99999/"],
)
def test_a_password_in_an_address_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(SourceError) as raised:
        checked(address)
    assert raised.value.trouble is Trouble.BAD_ADDRESS
    assert "t0psecret" not in str(raised.value)


def test_who_wrote_a_password_into_an_address_is_told_where_it_belongs() -> None:
    with pytest.raises(SourceError, match="put them into a secret, and name it in secretName"):
        checked("https://eva:t0psecret@host/x")


def test_a_signed_address_is_sent_as_it_is_written() -> None:
    assert str(checked(SIGNED)) == SIGNED


def test_letters_outside_ascii_are_encoded() -> None:
    assert checked("http://host/ü b").raw_path == "/%C3%BC%20b"


def test_what_stands_behind_a_question_mark_is_not_shown() -> None:
    assert shown(checked(SIGNED)) == "https://store.example:8443/models/a%2Fb.bin"
    assert shown(checked("http://[::1]:80/x#y")) == "http://[::1]/x"


@pytest.mark.parametrize(
    ("location", "found"),
    [
        ("/b?c=%2F", "https://host/b?c=%2F"),
        ("b", "https://host/a/b"),
        ("../b", "https://host/b"),
        ("//other/b", "https://other/b"),
        (SIGNED, SIGNED),
        ("https://eva:pw@other/b#c", "https://other/b"),
    ],
)
def test_redirects_lead_where_they_say(location: str, found: str) -> None:
    assert str(led_to(URL("https://host/a/x"), location)) == found


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("file:///etc/passwd", "only http and https are followed"),
        ("gopher://host/", "only http and https are followed"),
        ("data:text/plain,x", "only http and https are followed"),
        ("http://host/a", "not encrypted any more"),
        ("https:///etc", "without a proper host"),
        ("https://127.1/", "without a proper host"),
        ("https://h:99999/", "an address that is none"),
    ],
)
def test_redirects_that_are_refused(location: str, why: str) -> None:
    with pytest.raises(SourceError, match=why) as raised:
        led_to(URL("https://host/a"), location)
    assert raised.value.trouble is Trouble.REFUSED


def test_a_redirect_from_http_to_https_is_followed() -> None:
    assert str(led_to(URL("http://host/a"), "https://host/a")) == "https://host/a"


def test_another_port_or_scheme_is_another_server() -> None:
    assert same_origin(URL("https://host/a"), URL("https://host:443/b"))
    assert not same_origin(URL("https://host/a"), URL("https://host:444/a"))
    assert not same_origin(URL("http://host/a"), URL("https://host/a"))
    assert not same_origin(URL("https://host/a"), URL("https://host.evil/a"))
