"""The way out of requests, and so of oras: each of its questions is one of the downloader's.

So redirects, certificates, proxies, sizes and times are bounded for a registry's answers by the same rules as for all
others. It imports requests, which comes with oras.
"""

from __future__ import annotations

import io
from dataclasses import replace
from typing import Final

from requests import PreparedRequest, Response
from requests.adapters import BaseAdapter
from yarl import URL

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.sources.web.connect.addresses import same_origin, shown
from overbook.artifacts.sources.web.connect.masking import Mask
from overbook.artifacts.sources.web.connect.zones import Zone
from overbook.artifacts.sources.web.download import Question
from overbook.artifacts.sources.web.from_thread import FromThread
from overbook.artifacts.sources.web.json_answers import require_few_values

# What is not among these is raised as what it means.
_ANSWERS: Final = frozenset({200, 400, 401, 403, 404})
# What is sent to nobody to whom a registry leads on.
_PRIVATE: Final = ("authorization",)
# What the client reads, and how many characters of it: oras looks for words in a challenge in a way that takes the
# square of its length.
_HEADERS: Final = {"content-type": 200, "www-authenticate": 2000}


class Transport(BaseAdapter):  # type: ignore[misc]
    """``address``: what is asked about, and ``secret``: what people call the secret that is used, "" for none: both for
    errors. ``way``: to the downloader; requests itself blocks a thread meanwhile. ``mask``: for what was answered.
    """

    def __init__(self, address: str, secret: str, way: FromThread) -> None:
        super().__init__()
        self._address = address
        self._question = Question(answers=_ANSWERS, secret=secret)
        self._way = way
        self.mask = Mask({})
        # How near an address may be that the registry names, as one does who gives out tokens.
        self._least = Zone.LOOPBACK
        self._registry: URL | None = None

    def send(
        self,
        request: PreparedRequest,
        stream: bool = False,
        timeout: object = None,
        verify: object = True,
        cert: object = None,
        proxies: object = None,
    ) -> Response:
        """The answer. Raises SourceError, and CancelledError where it is closed."""
        public = dict(request.headers)
        private = {name: public.pop(name) for name in list(public) if name.lower() in _PRIVATE}
        url = URL(request.url or "", encoded=True)
        self._registry = self._registry or url
        least = Zone.LOOPBACK if same_origin(url, self._registry) else self._least
        question = replace(self._question, public=public, least=least)
        try:
            answer = self._way.ask(str(url), private, question)
            require_few_values(answer.body)
        except ValueError as error:
            raise SourceError(
                Trouble.REFUSED, f"{self._address}: {shown(url)} answers with {error}: refused"
            ) from None
        except SourceError as error:
            raise SourceError(
                error.trouble, f"{self._address}: {error}", retry_after=error.retry_after
            ) from None
        self._least = max(self._least, answer.least)
        self.mask |= answer.mask
        response = Response()
        response.status_code = answer.status
        for name, longest in _HEADERS.items():
            if len(value := answer.headers.get(name, "")) <= longest:
                response.headers[name] = value
        # Else requests would guess it, which for a large answer that is no text takes minutes.
        response.encoding = "utf-8"
        response.raw = io.BytesIO(answer.body)
        response.url = answer.url
        response.request = request
        return response

    def close(self) -> None:
        """What is being asked ends, and whoever waits for it goes on."""
        self._way.close()
