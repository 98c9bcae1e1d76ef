"""The pages of the usual servers, and links that lead elsewhere."""

from __future__ import annotations

import pytest

from overbook.artifacts.sources.web.autoindex import children, quoted

MOST = 100

URL = "http://host:8080/models/iris%20one/"

NGINX = """<html><head><title>Index of /models/iris one/</title></head><body><h1>Index of</h1><hr><pre>
<a href="../">../</a>
<a href="1/">1/</a>                                  30-Nov-2026 04:11                   -
<a href="a%20very%20long%20name%20that%20is%20cut%20off%20in%20the%20page.bin">a very long name that is cut o..&gt;</a>
<a href="100%25.txt">100%.txt</a>                    30-Nov-2026 04:11                   5
<a href="%C3%BC%26.json">\u00fc&amp;.json</a>        30-Nov-2026 04:11                   5
</pre><hr></body></html>"""

APACHE = """<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 3.2 Final//EN"><html><body><h1>Index of</h1><table>
<tr><th><a href="?C=N;O=D">Name</a></th><th><a href="?C=M;O=A">Last modified</a></th></tr>
<tr><td><a href="/models/">Parent Directory</a></td></tr>
<tr><td><a href="model.bin">model.bin</a></td><td align="right"> 12K</td></tr>
<tr><td><a href="sub/">sub/</a></td></tr></table></body></html>"""

PYTHON = """<!DOCTYPE HTML><html><body><ul>
<li><a href="model.bin">model.bin</a></li>
<li><a href="sub/">sub/</a></li>
<li><a href="link.bin">link.bin@</a></li></ul></body></html>"""


def test_nginx() -> None:
    assert children(NGINX, URL, MOST) == (
        "1/",
        "a very long name that is cut off in the page.bin",
        "100%.txt",
        "ü&.json",
    )


def test_apache() -> None:
    assert children(APACHE, URL, MOST) == ("model.bin", "sub/")


def test_python() -> None:
    assert children(PYTHON, URL, MOST) == ("model.bin", "sub/", "link.bin")


def links(*hrefs: str) -> tuple[str, ...]:
    return children("".join(f'<a href="{href}">x</a>' for href in hrefs), URL, MOST)


@pytest.mark.parametrize(
    "href",
    [
        "../other.bin",
        "/models/other/",
        "http://evil/models/iris%20one/a",
        "https://host:8080/models/iris%20one/a",
        "//evil/models/iris%20one/a",
        "javascript:alert(1)",
        "mailto:a@b",
        "#top",
        "?C=N",
        "a?download=1",
        ".",
        "./",
        "",
        "%2e%2e/",
        "%2E%2E/%2e%2e/etc/passwd",
        "http://[::1/x",
        "/models/iris%20one-evil/a",
    ],
)
def test_links_that_lead_elsewhere_are_no_files(href: str) -> None:
    assert links(href) == ()


def test_full_addresses_below_the_page_count() -> None:
    assert links("http://host:8080/models/iris%20one/a", "/models/iris one/b") == ("a", "b")


def test_a_link_to_something_deeper_stands_for_the_folder() -> None:
    assert links("sub/x.bin", "sub/", "sub/deep/y") == ("sub/",)


@pytest.mark.parametrize("href", ["a%2Fb", "..%2F..%2Fetc%2Fpasswd", "a%00b"])
def test_names_that_are_no_names_are_refused(href: str) -> None:
    with pytest.raises(ValueError, match=r"which is no file's name"):
        links(href)


def test_more_names_than_are_wanted_are_refused() -> None:
    names = [f"{number}.bin" for number in range(MOST)]
    assert links(*names, *names) == tuple(names)
    with pytest.raises(ValueError, match="more than 100 files, folders and other links"):
        links(*names, "one-more.bin")


def test_more_other_links_than_names_are_refused() -> None:
    with pytest.raises(ValueError, match="more than 100 files, folders and other links"):
        links(*(f"/elsewhere/{number}" for number in range(2 * MOST + 1)))


def test_a_fragment_does_not_belong_to_the_name() -> None:
    assert links("a.bin#x", "a.bin") == ("a.bin",)


def test_what_is_listed_can_be_asked_for() -> None:
    assert quoted("sub/ü b%&?#.bin") == "sub/%C3%BC%20b%25&%3F%23.bin"
    assert links(quoted("ü b%&?#.bin")) == ("ü b%&?#.bin",)
