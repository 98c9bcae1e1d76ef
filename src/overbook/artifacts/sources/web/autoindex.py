"""The pages by which web servers list a folder: nginx, Apache, Python's http.server and others. Pure.

There is no standard. What they have in common: each file is a link to an address below that of the page, each folder
one that ends in a slash. All other links (to the parent, to another order of the table) lead elsewhere.
"""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Final
from urllib.parse import quote, unquote, urljoin, urlsplit

_SAFE: Final = "!$&'()*+,;=:@~"


def children(page: str, url: str) -> tuple[str, ...]:
    """What is listed, each once, in order, relative to the page's address ``url``: ``name``, or ``name/`` for a folder,
    as people read it. Raises ValueError, with the name, for one that holds a slash or a zero byte.

    A link to something deeper counts as the folder on the way to it.
    """
    parser = _Links()
    parser.feed(page)
    parser.close()
    base = urlsplit(url)
    folder = base.path if base.path.endswith("/") else base.path.rpartition("/")[0] + "/"
    found: dict[str, None] = {}
    for link in parser.links:
        try:
            target = urlsplit(urljoin(url, link.strip()))
        except ValueError:
            continue
        if (target.scheme, target.netloc) != (base.scheme, base.netloc) or target.query:
            continue
        path = _decoded(target.path)
        if not path.startswith(_decoded(folder)):
            continue
        segment, slash, _ = target.path[_length(target.path, folder) :].partition("/")
        name = unquote(segment, errors="surrogateescape")
        if name in ("", ".", ".."):
            continue
        if "/" in name or "\0" in name:
            raise ValueError(name)
        found[name + slash] = None
    return tuple(found)


def quoted(name: str) -> str:
    """A relative path, with slashes, as it stands in an address."""
    return quote(name, safe=_SAFE + "/", errors="surrogateescape")


def _decoded(path: str) -> str:
    """Segment by segment, so that an encoded slash stays what it is."""
    return "/".join(
        unquote(part, errors="surrogateescape").replace("/", "%2F") for part in path.split("/")
    )


def _length(path: str, folder: str) -> int:
    """Characters of ``path`` that stand for ``folder``, which may be encoded in another way."""
    rest = path.split("/", folder.count("/"))[-1]
    return len(path) - len(rest)


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self.links.extend(value for name, value in attrs if name == "href" and value)
