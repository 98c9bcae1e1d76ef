"""What a browser sends for other people's pages is told by what the browser adds."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from overbook.scheduler.web.browsers import foreign

HOST = {"host": "127.0.0.1:9001"}
CONSOLE = "https://console.example"


def told(method: str, **headers: str) -> str:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return foreign(method, Headers(HOST | named), {CONSOLE}, secure=False)


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "http://127.0.0.1:9001", "sec_fetch_site": "same-origin"},
        {"origin": "http://127.0.0.1:9001"},
        {"sec_fetch_site": "same-origin"},
        {"sec_fetch_site": "none"},
        {"origin": CONSOLE, "sec_fetch_site": "cross-site"},
    ],
)
def test_programs_our_own_pages_and_those_that_are_named(
    method: str, headers: dict[str, str]
) -> None:
    assert told(method, **headers) == ""


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": ""},
        {"origin": "http://127.0.0.1:9000", "sec_fetch_site": "same-site"},
        {"origin": "http://127.0.0.1"},
        {"origin": "http://localhost:9001"},
        {"origin": "http://127.0.0.1:9001.evil.example"},
        {"origin": f"{CONSOLE}.evil.example"},
        {"origin": "http://console.example"},
        {"origin": "http://127.0.0.1:9001", "sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "whatever comes next"},
        {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate", "sec_fetch_dest": "iframe"},
    ],
)
def test_all_other_pages(method: str, headers: dict[str, str]) -> None:
    assert told(method, **headers) != ""


def test_a_link_leads_here_and_changes_nothing() -> None:
    link = {
        "sec_fetch_site": "cross-site",
        "sec_fetch_mode": "navigate",
        "sec_fetch_dest": "document",
    }
    assert told("GET", **link) == ""
    # A form.
    assert told("POST", **link, origin="null") != ""
    assert told("POST", **link) != ""


def test_what_is_told_is_short() -> None:
    assert len(told("POST", origin="https://" + "x" * 5000)) < 100


def test_over_tls_a_page_of_the_same_host_in_plain_is_anybodys() -> None:
    plain, own = (
        Headers(HOST | {"origin": f"{each}://127.0.0.1:9001"}) for each in ("http", "https")
    )
    assert foreign("POST", plain, (), secure=True) == "origin: 'http://127.0.0.1:9001'"
    assert foreign("POST", own, (), secure=True) == ""
    # In front of it may be somebody who speaks TLS for it.
    assert foreign("POST", own, (), secure=False) == ""
