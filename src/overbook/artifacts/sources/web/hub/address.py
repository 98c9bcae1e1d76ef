"""What an address of the hub says. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

from overbook.artifacts.errors import SourceError, Trouble
from overbook.manifests.problems import shown

SCHEME: Final = "hf://"
MAIN: Final = "main"
_EXPECTED: Final = "expected hf://OWNER/NAME[@REVISION][/PATH]"
_NAME: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_-])?")
COMMIT: Final = re.compile(r"[0-9a-f]{40}")
# The two kinds of revisions with slashes that the hub itself makes; in others people write %2F for a slash.
_REF: Final = re.compile(r"refs/(?:convert/[\w.-]+|pr/[0-9]+)(?=/|$)")
_NO_REVISION: Final = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|^/|/$")
_OTHER_KINDS: Final = ("datasets", "spaces", "kernels", "buckets")


@dataclass(frozen=True, slots=True)
class HubAddress:
    """``revision``: a branch, a tag or a commit. ``path``: of a folder or a file, "" for all of the repository."""

    owner: str
    name: str
    revision: str = MAIN
    path: str = ""

    @property
    def repository(self) -> str:
        return f"{self.owner}/{self.name}"

    @property
    def commit(self) -> str:
        """The revision where it is a commit, which is the same for all time; else ""."""
        return self.revision if COMMIT.fullmatch(self.revision) else ""

    def __str__(self) -> str:
        plain = _REF.fullmatch(self.revision) is not None
        written = self.revision if plain else quote(self.revision, safe="")
        revision = "" if self.revision == MAIN else f"@{written}"
        return f"{SCHEME}{self.repository}{revision}" + (f"/{self.path}" if self.path else "")


def parse(storage_uri: str) -> HubAddress:
    """Raises SourceError, BAD_ADDRESS, with what is wrong in it."""
    text = storage_uri.removeprefix(SCHEME).removeprefix("models/").rstrip("/")
    owner, _, rest = text.partition("/")
    if "@" in owner:
        # Before an @ some write a token: it is not repeated.
        raise _bad(f"{SCHEME}...@{owner.rpartition('@')[2]}", "an @ stands before the owner")
    if owner in _OTHER_KINDS:
        raise _bad(storage_uri, f"it names one of the hub's {owner}, and only models are served")
    name, at, rest = _split(rest)
    for word, value in (("owner", owner), ("name", name)):
        if not _NAME.fullmatch(value) or "--" in value or ".." in value:
            raise _bad(storage_uri, f"the {word} {shown(value)} is none that the hub has")
    revision, path = _revision(rest) if at else (MAIN, rest)
    if not revision or _NO_REVISION.search(revision):
        raise _bad(storage_uri, f"the revision {shown(revision)} is none that git has")
    if path and not all(_plain(part) for part in path.split("/")):
        raise _bad(storage_uri, f"the path {shown(path)} is not one inside of a repository")
    return HubAddress(owner, name, revision, path)


def _split(rest: str) -> tuple[str, bool, str]:
    """The name, whether a revision follows, and what follows."""
    name, slash, path = rest.partition("/")
    name, at, revision = name.partition("@")
    return name, bool(at), revision + slash + path if at else path


def _revision(rest: str) -> tuple[str, str]:
    if found := _REF.match(rest):
        return found.group(), rest[found.end() :].removeprefix("/")
    revision, _, path = rest.partition("/")
    return unquote(revision), path


def _plain(part: str) -> bool:
    return part not in ("", ".", "..") and "\\" not in part and part.isprintable()


def _bad(storage_uri: str, why: str) -> SourceError:
    return SourceError(Trouble.BAD_ADDRESS, f"{shown(storage_uri)}: {why}; {_EXPECTED}")
