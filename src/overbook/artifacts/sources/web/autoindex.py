"""The pages by which web servers list a folder: nginx, Apache, Python's http.server and others. Pure.

There is no standard. What they have in common: each file is a link to an address below that of the page, each folder
one that ends in a slash. All other links (to the parent, to another order of the table) lead elsewhere.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote, unquote, urljoin, urlsplit

from overbook.artifacts.sources.web.links import links
from overbook.manifests.problems import shown

_SAFE: Final = "!$&'()*+,;=:@~"


def children(page: str, url: str, most: int) -> tuple[str, ...]:
    """What is listed, each once, in order, relative to the page's address ``url``: ``name``, or ``name/`` for a folder,
    as people read it. Raises ValueError, with what is listed, for a name that holds a slash or a zero byte, and for
    more than ``most`` names, or as many other links.

    A link to something deeper counts as the folder on the way to it. It takes as long as the page is, and no longer:
    still a second for a large one, so it is not for the event loop.
    """
    below = _Below(url)
    found: dict[str, None] = {}
    seen: set[str] = set()
    for link in links(page):
        if link in seen:
            continue
        seen.add(link)
        if (name := below.name_of(link)) is not None:
            found[name] = None
        if len(found) > most or len(seen) > 2 * most:
            raise ValueError(f"more than {most} files, folders and other links")
    return tuple(found)


def quoted(name: str) -> str:
    """A relative path, with slashes, as it stands in an address."""
    return quote(name, safe=_SAFE + "/", errors="surrogateescape")


class _Below:
    """The folder that a page is about."""

    def __init__(self, url: str) -> None:
        self._url = url
        base = urlsplit(url)
        self._server = (base.scheme, base.netloc)
        path = base.path if base.path.endswith("/") else base.path.rpartition("/")[0] + "/"
        self._path = _decoded(path)
        self._slashes = path.count("/")

    def name_of(self, link: str) -> str | None:
        """What lies in it where the link leads; None where that is elsewhere. Raises ValueError."""
        try:
            target = urlsplit(urljoin(self._url, link.strip()))
        except ValueError:
            return None
        if (target.scheme, target.netloc) != self._server or target.query:
            return None
        if not _decoded(target.path).startswith(self._path):
            return None
        # The folder's own name may be encoded in another way there.
        rest = target.path.split("/", self._slashes)[-1]
        segment, slash, _ = rest.partition("/")
        name = unquote(segment, errors="surrogateescape")
        if name in ("", ".", ".."):
            return None
        if "/" in name or "\0" in name:
            raise ValueError(f"{shown(name)}, which is no file's name")
        return name + slash


def _decoded(path: str) -> str:
    """Segment by segment, so that an encoded slash stays what it is."""
    return "/".join(
        unquote(part, errors="surrogateescape").replace("/", "%2F") for part in path.split("/")
    )
