"""A stand-in of the Hugging Face Hub: as much of its HTTP API as its real client asks for a model's files.

What it answers is as the hub answers: which status, which of its own headers, and that large files lie elsewhere, at a
server that is not to be told the token. `test_sources_hub` lets the real client download from it.
"""

from __future__ import annotations

import hashlib
import json
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import parse_qs, quote, unquote, urlsplit

from tests.stores.certificates import Certificate

TOKEN: Final = "hf_stand_in_of_the_hub"


@dataclass
class Repository:
    """``commits``: files by name, by commit. ``revisions``: commits by branch or tag. ``large``: names of files that
    lie elsewhere. ``open_to``: tokens that may have the files, None for everybody.
    """

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=dict)
    large: set[str] = field(default_factory=set)
    open_to: set[str] | None = None
    gated: bool = False


@dataclass(frozen=True)
class Asked:
    """One request. ``token``: "" for none."""

    method: str
    path: str
    token: str


class Hub:
    """``asked``: at the hub, in the order in which it came. ``busy``: so many of the next are told to come later, in
    ``retry_after`` seconds. ``swap``: bytes that are served in place of those of a file, by its name.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.tokens = {TOKEN}
        self.asked: list[Asked] = []
        self.asked_elsewhere: list[Asked] = []
        self.busy = 0
        self.busy_headers: dict[str, str] = {"Retry-After": "7"}
        self.swap: dict[str, bytes] = {}
        self.url = ""
        self.elsewhere = ""

    def commit(
        self,
        name: str,
        files: Mapping[str, bytes],
        *,
        large: tuple[str, ...] = (),
        branch: str = "main",
    ) -> str:
        """A commit at the head of the branch, which has these files alone."""
        repository = self.repositories.setdefault(name, Repository())
        text = repr((name, len(repository.commits), sorted(files.items())))
        commit = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        repository.commits[commit] = dict(files)
        repository.revisions[branch] = commit
        repository.large |= set(large)
        return commit


def git_name(data: bytes) -> str:
    """What git calls these bytes."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


@contextmanager
def hub(certificate: Certificate | None = None) -> Iterator[Hub]:
    """The hub and the other server, each on a free port of this machine; with TLS where they have a certificate."""
    stand_in = Hub()

    class Front(_Front):
        hub = stand_in

    class Elsewhere(_Elsewhere):
        hub = stand_in

    with (
        _serving(Front, certificate) as stand_in.url,
        _serving(Elsewhere, certificate) as stand_in.elsewhere,
    ):
        yield stand_in


@contextmanager
def _serving(
    handler: type[BaseHTTPRequestHandler], certificate: Certificate | None
) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    scheme = "http"
    if certificate is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(certificate.certificate, certificate.key)
        # Each connection shakes hands in its own thread, when it is first read.
        server.socket = tls.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        scheme = "https"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"{scheme}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def handle(self) -> None:
        # Who does not trust the certificate leaves.
        with suppress(ssl.SSLError, ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        raise NotImplementedError

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        pass

    @property
    def token(self) -> str:
        return self.headers.get("Authorization", "").removeprefix("Bearer ")

    def answer(
        self, status: int, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def file(self, data: bytes, headers: Mapping[str, str]) -> None:
        """All of it, or from where the Range begins."""
        start = 0
        status, more = 200, {"Accept-Ranges": "bytes", **headers}
        if (asked := self.headers.get("Range", "")).startswith("bytes="):
            start = int(asked.removeprefix("bytes=").partition("-")[0])
            status = 206
            more["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        self.answer(status, data[start:], more)


class _Front(_Handler):
    """What answers at huggingface.co."""

    def do_GET(self) -> None:
        hub, url = self.hub, urlsplit(self.path)
        hub.asked.append(Asked(self.command, self.path, self.token))
        if hub.busy > 0:
            hub.busy -= 1
            self.answer(429, b"", hub.busy_headers)
            return
        parts = [unquote(part) for part in url.path.strip("/").split("/")]
        if self.token and self.token not in hub.tokens:
            self.refuse(401, "", "Invalid credentials in Authorization header")
        elif parts[:2] == ["api", "models"]:
            self.api("/".join(parts[2:4]), parts[4:], parse_qs(url.query))
        elif len(parts) > 4 and parts[2] == "resolve":
            self.resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        else:
            self.answer(404)

    def refuse(self, status: int, code: str, message: str) -> None:
        headers = {"X-Error-Message": message, "Content-Type": "application/json"}
        if code:
            headers["X-Error-Code"] = code
        self.answer(status, json.dumps({"error": message}).encode(), headers)

    def repository(self, name: str) -> Repository | None:
        """Who is not told what is private is told that there is none."""
        found = self.hub.repositories.get(name)
        private = found is not None and found.open_to is not None and not found.gated
        if found is None or (private and self.token not in (found.open_to or ())):
            if self.token:
                self.refuse(404, "RepoNotFound", "Repository not found")
            else:
                self.refuse(401, "RepoNotFound", "Invalid username or password.")
            return None
        return found

    def may(self, repository: Repository) -> bool:
        if repository.open_to is None or self.token in repository.open_to:
            return True
        self.refuse(403 if self.token else 401, "GatedRepo", "Access to this model is restricted.")
        return False

    def files(self, repository: Repository, revision: str) -> tuple[str, dict[str, bytes]] | None:
        commit = repository.revisions.get(revision, revision)
        if commit not in repository.commits:
            self.refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
            return None
        return commit, repository.commits[commit]

    def api(self, name: str, rest: list[str], query: Mapping[str, list[str]]) -> None:
        if (repository := self.repository(name)) is None:
            return
        if rest == ["auth-check"]:
            if self.may(repository):
                self.answer(200)
            return
        revision = rest[1] if rest[:1] == ["revision"] else "main"
        if (found := self.files(repository, revision)) is None:
            return
        commit, files = found
        siblings = []
        for file, data in files.items():
            told: dict[str, object] = {"rfilename": file}
            if "blobs" in query:
                told |= {"size": len(data), "blobId": git_name(data)}
                if file in repository.large:
                    sha256 = hashlib.sha256(data).hexdigest()
                    told["lfs"] = {"sha256": sha256, "size": len(data), "pointerSize": 130}
            siblings.append(told)
        gated = "auto" if repository.gated else False
        body = {"id": name, "sha": commit, "gated": gated, "private": False, "siblings": siblings}
        self.answer(200, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def resolve(self, name: str, revision: str, file: str) -> None:
        if (repository := self.repository(name)) is None or not self.may(repository):
            return
        if (found := self.files(repository, revision)) is None:
            return
        commit, files = found
        if file not in files:
            self.refuse(404, "EntryNotFound", "Entry not found")
            return
        data = files[file]
        told = {"X-Repo-Commit": commit}
        if file in repository.large:
            sha256 = hashlib.sha256(data).hexdigest()
            told |= {
                "X-Linked-Size": str(len(data)),
                "X-Linked-Etag": f'"{sha256}"',
                "Location": f"{self.hub.elsewhere}/{quote(name)}/{commit}/{quote(file)}?signature=x",
            }
            self.answer(302, b"", told)
        else:
            self.file(self.hub.swap.get(file, data), told | {"ETag": f'"{git_name(data)}"'})


class _Elsewhere(_Handler):
    """What answers where large files lie. Like S3, it refuses who shows it a token besides the signature."""

    def do_GET(self) -> None:
        hub, url = self.hub, urlsplit(self.path)
        hub.asked_elsewhere.append(Asked(self.command, self.path, self.token))
        if self.token or url.query != "signature=x":
            self.answer(400)
            return
        owner, name, commit, file = unquote(url.path).strip("/").split("/", 3)
        data = hub.repositories[f"{owner}/{name}"].commits[commit][file]
        sha256 = hashlib.sha256(data).hexdigest()
        self.file(hub.swap.get(file, data), {"ETag": f'"{sha256}"'})
