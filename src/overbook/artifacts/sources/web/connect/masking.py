"""Keeps what a server was told in secret out of what it says. Pure.

A server may say a token again: in a redirect, an ETag, a file's name, an error. What it says is in messages, in the
index of the cache and in the journal of a fetch, which more people read than may know the token.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final
from urllib.parse import quote, unquote

from overbook.artifacts.errors import SourceError
from overbook.manifests.problems import Json

_MASK: Final = "***"
# Characters: what is shorter is found everywhere. A message may lose a word; a name or a version that does is another.
_IN_MESSAGES: Final = 4
_IN_VALUES: Final = 8
# Headers, and words in them, that are no secret.
_OPEN: Final = re.compile(r"accept(-.*)?|user-agent|content-type|referer|origin|range|if-.*")
_SCHEMES: Final = frozenset({"basic", "bearer", "digest", "token", "apikey", "negotiate"})


class Mask:
    """Of the headers that a server was sent, without those that anybody may read."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        self._secrets = {
            form
            for name, value in headers.items()
            if not _OPEN.fullmatch(name.lower())
            for secret in _secrets_in(value)
            for form in (secret, secret.rstrip("="), quote(secret, safe=""))
        }
        self._in_messages = _any_of(self._secrets, _IN_MESSAGES)
        self._in_values = _any_of(self._secrets, _IN_VALUES)

    def __or__(self, other: Mask) -> Mask:
        both = Mask({})
        both._secrets = self._secrets | other._secrets
        both._in_messages = _any_of(both._secrets, _IN_MESSAGES)
        both._in_values = _any_of(both._secrets, _IN_VALUES)
        return both

    def message(self, text: str) -> str:
        """For people."""
        return _masked(text, self._in_messages)

    def value(self, text: str) -> str:
        """A name, an address or a version, which is used as it comes out. Secrets shorter than eight characters stay:
        they are words that a name may have by chance.
        """
        return _masked(text, self._in_values)

    def json(self, told: Json) -> Json:
        """With all texts in it as by `value`. Raises ValueError for what is too deep."""
        if self._in_values is None:
            return told
        try:
            return self._json(told)
        except RecursionError:
            raise ValueError("brackets lie too deep in brackets") from None

    def error(self, error: SourceError) -> SourceError:
        """The same, where nothing in it has to be masked."""
        text = self.message(str(error))
        if text == str(error):
            return error
        return SourceError(error.trouble, text, retry_after=error.retry_after)

    def _json(self, told: Json) -> Json:
        if isinstance(told, str):
            return self.value(told)
        if isinstance(told, list):
            return [self._json(each) for each in told]
        if isinstance(told, dict):
            return {self.value(name): self._json(each) for name, each in told.items()}
        return told


def _masked(text: str, pattern: re.Pattern[str] | None) -> str:
    if pattern is None:
        return text
    text = pattern.sub(_MASK, text)
    if "%" in text and pattern.search(plain := unquote(text, errors="surrogateescape")):
        # It was written in another way, of which there are many.
        return pattern.sub(_MASK, plain)
    return text


def _any_of(secrets: Iterable[str], least: int) -> re.Pattern[str] | None:
    """Whether letters are large or small counts nothing: names of hosts lose that."""
    found = sorted((each for each in secrets if len(each) >= least), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, found)), re.IGNORECASE) if found else None


def _secrets_in(value: str) -> Iterator[str]:
    """The whole of a header's value, all behind its scheme, its words, what stands behind a ``=``, and what Basic is
    made of.
    """
    yield value
    if value.partition(" ")[0].lower() in _SCHEMES:
        yield value.partition(" ")[2].strip()
    for word in re.split(r"[\s;,]+", value):
        if word.lower() not in _SCHEMES:
            yield word
            yield word.partition("=")[2].strip('"')
    scheme, _, encoded = value.partition(" ")
    if scheme.lower() == "basic":
        try:
            decoded = base64.b64decode(encoded).decode()
        except ValueError:
            return
        yield decoded
        yield decoded.partition(":")[2]
