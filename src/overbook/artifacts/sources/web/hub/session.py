"""The way out of huggingface-hub: each of its requests is one of the downloader's.

By itself that library reads whatever comes, for as long as it comes, and follows redirects wherever they lead. It has
one HTTP client for the whole process, made by a function that may be given (`set_client_factory`); so the one that is
given here looks who asks in this thread. Who does so without `asking`, which is nobody in this house, is asked for by
the library's own ways.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final

import huggingface_hub
from huggingface_hub import set_client_factory

from overbook.artifacts.errors import SourceError
from overbook.artifacts.sources.web.download import Answer, Question
from overbook.artifacts.sources.web.from_thread import FromThread

# What it asks with was called otherwise before 2.0.
_http: Any = import_module("httpx" if huggingface_hub.__version__.startswith("1.") else "httpx2")
_QUESTION: Final = Question(answers=frozenset(range(200, 600)))
# By these it tells errors apart; they are short where a hub sends them.
_HEADERS: Final = ("x-error-code", "x-error-message", "retry-after", "ratelimit")
_LONGEST: Final = 500
# What is looked at of what a hub tells about a model.
_NEEDED: Final = ("id", "sha", "gated", "siblings")

_here = threading.local()


@contextmanager
def asking(address: str, way: FromThread) -> Iterator[None]:
    """What this thread asks the hub meanwhile goes by ``way``. ``address``: for errors."""
    _here.asked = (address, way)
    try:
        yield
    finally:
        del _here.asked


class _WayOut:
    """A transport of httpx's."""

    def __init__(self) -> None:
        self._others = _http.HTTPTransport()

    def handle_request(self, request: Any) -> Any:
        """The answer. Raises SourceError."""
        asked: tuple[str, FromThread] | None = getattr(_here, "asked", None)
        if asked is None:
            return self._others.handle_request(request)
        address, way = asked
        token = request.headers.get("authorization")
        private = {} if token is None else {"Authorization": token}
        try:
            answer = way.ask(str(request.url), private, _QUESTION)
        except SourceError as error:
            raise SourceError(
                error.trouble, f"{address}: {error}", retry_after=error.retry_after
            ) from None
        headers = {
            name: value
            for name in _HEADERS
            if 0 < len(value := answer.headers.get(name, "")) <= _LONGEST
        }
        return _http.Response(answer.status, headers=headers, content=_body(answer))

    def close(self) -> None:
        self._others.close()


def _body(answer: Answer) -> bytes:
    """What is needed of it, with less in it than a reader can bear. Where it is something else, nothing."""
    try:
        told = answer.json() if answer.status == 200 else None
    except ValueError:
        told = None
    if not isinstance(told, dict):
        return b""
    return json.dumps({name: told[name] for name in _NEEDED if name in told}).encode()


def _client() -> Any:
    return _http.Client(transport=_WayOut(), follow_redirects=True, timeout=None, trust_env=False)


set_client_factory(_client)
