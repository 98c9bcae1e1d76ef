"""Asks a registry by oras. Blocking; callers run it in threads, and close it when they leave.

The only file that imports oras, which need not be installed. From it come the flow of tokens, what Docker's
configuration of this user says, and the addresses of manifests and blobs; its own way of asking again, with sleeps of
up to 83 s and without bounds, is not used. Its errors are not shown.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import oras.auth.utils
import oras.container
import oras.provider
from requests import Response

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.sources.protocol import RemoteFile
from overbook.artifacts.sources.web.files import WebFile
from overbook.artifacts.sources.web.json_answers import read_json
from overbook.artifacts.sources.web.registry.access import Access
from overbook.artifacts.sources.web.registry.address import RegistryAddress, is_tag
from overbook.artifacts.sources.web.registry.manifest import INDEXES, MANIFESTS
from overbook.artifacts.sources.web.registry.transport import Transport
from overbook.manifests.problems import Json

_ACCEPT: Final = ", ".join((*MANIFESTS, *INDEXES))
# Under which names Docker's configuration has what is for its own registry.
_DOCKER: Final = "registry-1.docker.io"
# Tags that a message names.
_TOLD: Final = 5
_DOCKER_NAMES: Final = ("https://index.docker.io/v1/", "docker.io", "index.docker.io")
# What it would write there is told in an error anyway.
logging.getLogger("oras.logger").setLevel(logging.CRITICAL + 1)


@dataclass(frozen=True, slots=True)
class Manifest:
    """``digest``: of its bytes, as they came. ``media_type``: as the registry says."""

    digest: str
    media_type: str
    content: Mapping[str, Json]


class RegistryClient(oras.provider.Registry):  # type: ignore[misc]
    """One repository, asked with the rights that ``access`` gives."""

    def __init__(self, address: RegistryAddress, access: Access, transport: Transport) -> None:
        super().__init__(hostname=address.asked, insecure=access.plain)
        self._address = address
        self._access = access
        self._transport = transport
        self._authorization: dict[str, str] = {}
        # Neither ~/.netrc nor what requests says of itself.
        self.session.trust_env = False
        self.session.headers.clear()
        for scheme in ("http://", "https://"):
            self.session.mount(scheme, transport)
        self._container = _container(address)
        self._take_credentials()

    def manifest(self, reference: str) -> Manifest:
        """``reference``: a tag or a digest. Raises SourceError."""
        url = f"{self.prefix}://{self._container.manifest_url(reference)}"
        with self._in_words():
            response = self.do_request(url, headers={"Accept": _ACCEPT})
        if response.status_code != 200:
            raise self._refusal(response, reference)
        body = response.content
        digest = f"sha256:{sha256(body).hexdigest()}"
        if ":" in reference and digest != reference:
            raise SourceError(
                Trouble.DAMAGED,
                f"{self._address}: {self._address.host} gave another manifest than {reference}",
            )
        try:
            content = self._transport.mask.json(read_json(body))
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise SourceError(
                Trouble.REFUSED,
                f"{self._address}: {self._address.host} gave a manifest that is no JSON object; expected a registry",
            )
        media_type = self._transport.mask.value(response.headers.get("Content-Type", ""))
        return Manifest(digest, media_type, content)

    def web_files(self, files: Sequence[RemoteFile]) -> list[WebFile]:
        """Where their bytes are, and what is to be sent there, as it was when the manifest was asked for."""
        return [
            WebFile(
                each,
                f"{self.prefix}://{self._container.get_blob_url(each.mark)}",
                dict(self._authorization),
            )
            for each in files
        ]

    def do_request(
        self,
        url: str,
        method: str = "GET",
        data: dict[str, object] | bytes | None = None,
        headers: dict[str, str] | None = None,
        json: dict[str, object] | None = None,
        stream: bool = False,
    ) -> Response:
        """Asks once, and once more when it knows who it is. The original tries again by itself."""
        given = dict(headers or {})
        response = self.session.request(method, url, headers={**given, **self._authorization})
        if response.status_code != 401 or self._access.token:
            return response
        found = self._answer_to(response)
        if found is None:
            return response
        self._authorization = {"Authorization": found}
        return self.session.request(method, url, headers={**given, **self._authorization})

    @contextlib.contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except SourceError:
            raise
        except Exception as error:
            # What oras and requests raise where an answer makes no sense to them; their texts may hold anything.
            raise SourceError(
                Trouble.UNREACHABLE,
                f"{self._address}: {self._address.host} cannot be asked ({type(error).__name__}); expected a registry",
            ) from None

    def _answer_to(self, response: Response) -> str | None:
        """What is to be sent as Authorization to a registry that wants to know who asks; None where nobody knows."""
        challenge = response.headers.get("WWW-Authenticate", "")
        basic = getattr(self.auth, "_basic_auth", None)
        if challenge.lower().startswith("basic"):
            return f"Basic {basic}" if basic else None
        realm = oras.auth.utils.parse_auth_header(challenge).realm
        if not realm:
            return None
        if basic and not self._access.plain and not realm.startswith("https://"):
            raise SourceError(
                Trouble.REFUSED,
                f"{self._address}: {self._address.host} wants the password sent to a server without TLS",
            )
        headers, changed = self.auth.authenticate_request(response, {}, refresh=True)
        return headers["Authorization"] if changed else None

    def _take_credentials(self) -> None:
        if self._access.token:
            self._authorization = {"Authorization": f"Bearer {self._access.token}"}
        elif self._access.username:
            self.auth.set_basic_auth(self._access.username, self._access.password)
        elif not self._access.secret:
            self._take_docker_credentials()

    def _take_docker_credentials(self) -> None:
        """Raises SourceError where Docker's configuration of this user cannot be read."""
        folder = os.environ.get("DOCKER_CONFIG", "")
        own = os.path.join(folder, "config.json")
        asked = self._address.asked
        names = _DOCKER_NAMES if asked == _DOCKER else (asked, f"https://{asked}")
        container = _container(self._address)
        try:
            for name in names:
                container.registry = name
                self.auth.load_configs(
                    container, configs=[own] if folder and os.path.exists(own) else None
                )
                if hasattr(self.auth, "_basic_auth"):
                    return
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise SourceError(
                Trouble.BAD_SECRET,
                f"{self._address}: Docker's configuration of this user cannot be read ({type(error).__name__}); "
                "expected the JSON that docker login writes",
            ) from None

    def _refusal(self, response: Response, reference: str) -> SourceError:
        """What an answer that is an error means."""
        status, codes = response.status_code, _codes(response.content)
        host, repository = self._address.host, self._address.repository
        shown = "Authorization" in (response.request.headers or {})
        whose = _whose(self._access, shown)
        if status == 401 and (self._access.token or self._access.username):
            return SourceError(
                Trouble.NOT_ALLOWED, f"{self._address}: {host} does not take {whose}"
            )
        if status in (401, 403):
            return SourceError(
                Trouble.NOT_ALLOWED,
                f"{self._address}: {repository} is not there, or {whose} does not open it",
            )
        if status == 404:
            missing = f"{host} has no repository {repository}"
            if "NAME_UNKNOWN" not in codes:
                missing = self._missing(reference)
            return SourceError(Trouble.NOT_FOUND, f"{self._address}: {missing}")
        return SourceError(
            Trouble.REFUSED, f"{self._address}: {host} answers HTTP {status}; expected a registry"
        )

    def _missing(self, reference: str) -> str:
        """Whether it is the repository or what was asked for in it: many registries say the same of both."""
        host, repository = self._address.host, self._address.repository
        kind = "digest" if ":" in reference else "tag"
        status, told = 0, None
        with contextlib.suppress(SourceError, ValueError):
            with self._in_words():
                response = self.do_request(f"{self.prefix}://{self._container.tags_url(_TOLD + 1)}")
            status = response.status_code
            told = self._transport.mask.json(read_json(response.content))
        if status == 404:
            return f"{host} has no repository {repository}"
        if status != 200:
            return f"{repository} has no {kind} {reference}, or is not there at all"
        found = told.get("tags") if isinstance(told, dict) else None
        tags = [each for each in found if is_tag(each)] if isinstance(found, list) else []
        there = ", ".join(tags[:_TOLD]) + (", …" if len(tags) > _TOLD else "")
        return f"{repository} has no {kind} {reference}" + (f"; its tags: {there}" * bool(there))


def _container(address: RegistryAddress) -> oras.container.Container:
    """Its parts are set one by one: of a text oras guesses which of them is the host."""
    made = oras.container.Container("name", registry=address.asked)
    namespace, _, made.repository = address.repository.rpartition("/")
    made.namespace = namespace or None
    return made


def _whose(access: Access, shown: bool) -> str:
    """With which rights it was asked."""
    if access.secret and (access.token or access.username):
        return f"what is in secret {access.secret!r}"
    if shown:
        return "what this machine has of its own (docker login)"
    return "a request without a name (secretName gives it one)"


def _codes(body: bytes) -> set[str]:
    """The words for what is wrong, as registries have them."""
    with contextlib.suppress(ValueError):
        told = read_json(body)
        errors = told.get("errors") if isinstance(told, dict) else None
        if isinstance(errors, list):
            return {str(each.get("code")) for each in errors if isinstance(each, dict)}
    return set()
