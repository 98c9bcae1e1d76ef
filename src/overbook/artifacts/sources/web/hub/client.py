"""Asks the hub by its own client. Blocking; callers run it in threads, and bound the time that it takes.

This and `session`, by which the client asks, are the only files that import huggingface-hub, which need not be
installed. The client is used where it does not ask again by itself: when to do so is decided elsewhere. What is in its
errors is not shown, but put into words here.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from huggingface_hub import HfApi, constants, hf_hub_url
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoSibling
from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.sources.protocol import RemoteFile
from overbook.artifacts.sources.web.files import WebFile
from overbook.artifacts.sources.web.from_thread import FromThread
from overbook.artifacts.sources.web.hub.access import Access
from overbook.artifacts.sources.web.hub.address import COMMIT, HubAddress
from overbook.artifacts.sources.web.hub.session import asking
from overbook.artifacts.sources.web.retries import retry_after

# What the machine is and who runs the client is nobody's business.
constants.HF_HUB_DISABLE_TELEMETRY = True

_BUSY: Final = (429, 503)
# How the hub says in seconds when the next question is free, where none is left.
_NONE_LEFT: Final = re.compile(r";\s*r\s*=\s*0\s*;\s*t\s*=\s*([0-9]{1,9})")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
# Files of git's own, which no server reads.
_LEFT_OUT: Final = ".gitattributes"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All files of one commit, by their names in the repository."""

    commit: str
    files: tuple[RemoteFile, ...]


class HubClient:
    """One address, asked with the rights that ``access`` gives, by ``way``."""

    def __init__(self, address: HubAddress, access: Access, way: FromThread) -> None:
        self._address = address
        self._way = way
        self._access = access
        self._endpoint = (
            access.endpoint or os.environ.get("HF_ENDPOINT") or constants.ENDPOINT
        ).rstrip("/")
        # A user and a password may stand in it.
        self._told = re.sub(r"//[^/]*@", "//", self._endpoint)

    def snapshot(self) -> Snapshot:
        """What is in the repository at the revision. Raises SourceError."""
        with self._in_words(), asking(str(self._address), self._way):
            if constants.HF_HUB_OFFLINE:
                raise OfflineModeIsEnabled
            api = HfApi(endpoint=self._endpoint, token=self._access.token or None)
            info = api.model_info(
                self._address.repository,
                revision=self._address.revision,
                files_metadata=True,
            )
            if info.gated:
                # Who may not have the files may still see their names.
                api.auth_check(self._address.repository)
            if not info.sha or not COMMIT.fullmatch(info.sha):
                raise ValueError("no commit")
            files = tuple(
                _file(info.sha, each)
                for each in info.siblings or ()
                if each.rfilename.rpartition("/")[2] != _LEFT_OUT
            )
            return Snapshot(info.sha, files)

    def web_files(self, files: Sequence[RemoteFile]) -> list[WebFile]:
        """Where their bytes are, and what is to be sent there. Raises SourceError."""
        with self._in_words():
            if constants.HF_HUB_OFFLINE:
                raise OfflineModeIsEnabled
            # What it says of this machine besides is nobody's business.
            headers = build_hf_headers(token=self._access.token or None)
            headers = {name: headers[name] for name in headers if name.lower() == "authorization"}
        found = []
        for each in files:
            commit, _, name = each.origin.partition("/")
            url = hf_hub_url(
                self._address.repository, name, revision=commit, endpoint=self._endpoint
            )
            found.append(WebFile(each, url, headers))
        return found

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except SourceError:
            raise
        except OfflineModeIsEnabled:
            raise SourceError(
                Trouble.REFUSED,
                f"{self._address}: HF_HUB_OFFLINE is set, so the hub is not asked; unset it where Overbook is started",
            ) from None
        except HFValidationError:
            raise SourceError(
                Trouble.BAD_ADDRESS,
                f"{self._address}: {self._address.repository} is no name of a repository; expected hf://OWNER/NAME",
            ) from None
        except HfHubHTTPError as error:
            raise self._refusal(error) from None
        except Exception as error:
            # Of answers that are no JSON, or another one than it expects. Their texts may hold anything.
            raise SourceError(
                Trouble.UNREACHABLE,
                f"{self._address}: {self._told} answers what no hub does ({type(error).__name__}); expected one",
            ) from None

    def _refusal(self, error: HfHubHTTPError) -> SourceError:
        """What an answer that is an error means."""
        status = error.response.status_code
        shown = "authorization" in error.response.request.headers
        whose = _whose(self._access, shown)
        trouble, why, later = Trouble.REFUSED, f"{self._told} answers HTTP {status}", None
        if isinstance(error, GatedRepoError):
            trouble = Trouble.NOT_ALLOWED
            page = f"{self._told}/{self._address.repository}"
            why = f"it is gated, and {whose} does not open it; ask for access at {page}"
        elif isinstance(error, RevisionNotFoundError):
            trouble = Trouble.NOT_FOUND
            revision = self._address.revision
            why = f"there is no revision {revision}; expected a branch, a tag or a commit of it"
        elif isinstance(error, DisabledRepoError):
            trouble, why = Trouble.NOT_ALLOWED, f"{self._told} has disabled it"
        elif status == 401 and shown and not _says_unknown(error):
            trouble, why = Trouble.NOT_ALLOWED, f"{self._told} does not take {whose}"
        elif isinstance(error, RepositoryNotFoundError) or status in (401, 404):
            # The hub answers alike, so that nobody learns what is private.
            trouble = Trouble.NOT_FOUND
            why = f"it does not exist at {self._told}, or is private and {whose} does not open it"
        elif status == 403:
            trouble, why = Trouble.NOT_ALLOWED, f"{whose} does not open it"
        elif status in _BUSY:
            trouble, why = Trouble.BUSY, f"{self._told} asks to come later (HTTP {status})"
            later = _wait(error.response.headers)
        elif status >= 500:
            trouble = Trouble.UNREACHABLE
        return SourceError(trouble, f"{self._address}: {why}", retry_after=later)


def _file(commit: str, sibling: RepoSibling) -> RemoteFile:
    """Raises ValueError where it is not what a hub says."""
    # The content has one name: SHA-256 where it is large, else git's own.
    sha256 = sibling.lfs.sha256 if sibling.lfs else ""
    mark = sha256 or sibling.blob_id or commit
    name, size = sibling.rfilename, sibling.size
    if not isinstance(name, str) or not isinstance(mark, str) or (size is not None and size < 0):
        raise ValueError("no file")
    if sha256 and not _SHA256.fullmatch(sha256):
        raise ValueError("no SHA-256")
    return RemoteFile(name, size, mark, sha256, f"{commit}/{name}")


def _says_unknown(error: HfHubHTTPError) -> bool:
    return error.response.headers.get("X-Error-Code") == "RepoNotFound"


def _whose(access: Access, shown: bool) -> str:
    """With which rights it was asked."""
    if access.secret:
        return f"the token of secret {access.secret!r}"
    if shown:
        return "this machine's own token (HF_TOKEN, or that of its login)"
    return "a request without a token (secretName gives it one)"


def _wait(headers: Mapping[str, str]) -> float | None:
    """Seconds after which the hub wants to be asked again, where it says so."""
    if found := _NONE_LEFT.search(headers.get("ratelimit", "")):
        return float(found.group(1))
    return retry_after(headers, time.time())
