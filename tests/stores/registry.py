"""Debian's docker-registry, open or behind a password or tokens, and a client that pushes by hand what no tool would.

Several of them may serve the same folder: what an open one was given is to be had from one that asks who it is.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import gzip
import hashlib
import io
import json
import tarfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from tests.stores.certificates import Certificate
from tests.stores.processes import HOST, free_port, running

USER: Final = "reader"
PASSWORD: Final = "registry-password"
MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
INDEX: Final = "application/vnd.oci.image.index.v1+json"
TAR: Final = "application/vnd.oci.image.layer.v1.tar"
_PROGRAM: Final = "/usr/bin/docker-registry"
# Of the password above, by bcrypt, which is the only kind that the registry takes.
_PASSWORD_HASH: Final = "$2b$05$aaaaaaaaaaaaaaaaaaaaae78vlcRT7uxO8k1Xgcmm2dY8WELa99o2"
_SERVICE: Final = "registry"
_ISSUER: Final = "issuer"
# Seconds that the registry takes a token for longer than it says.
_LEEWAY: Final = 60


@contextlib.contextmanager
def registry(
    folder: Path, auth: Mapping[str, Any] | None = None, certificate: Certificate | None = None
) -> Iterator[str]:
    """Its HOST:PORT. ``folder``: where it keeps all. ``auth``: as its configuration has it, None for an open one.
    ``certificate``: None for one without TLS.
    """
    port = free_port()
    folder.mkdir(exist_ok=True)
    configuration = folder / f"{port}.json"
    http: dict[str, Any] = {"addr": f"{HOST}:{port}"}
    if certificate is not None:
        http["tls"] = {
            "certificate": str(certificate.certificate),
            "key": str(certificate.key),
        }
    configuration.write_text(
        json.dumps(
            {
                "version": "0.1",
                "log": {"level": "warn", "accesslog": {"disabled": False}},
                "storage": {"filesystem": {"rootdirectory": str(folder / "store")}},
                "http": http,
            }
            | ({"auth": auth} if auth else {})
        )
    )
    with running([_PROGRAM, "serve", configuration], port, folder / f"{port}.log"):
        yield f"{HOST}:{port}"


def with_password(folder: Path) -> dict[str, Any]:
    """Lets USER with PASSWORD in, and nobody else."""
    folder.mkdir(exist_ok=True)
    (folder / "htpasswd").write_text(f"{USER}:{_PASSWORD_HASH}\n")
    return {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}


@dataclass
class Pusher:
    """Pushes to an open registry."""

    host: str

    def blob(self, repository: str, data: bytes) -> dict[str, Any]:
        """Its digest and size, as a manifest has them."""
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        url = f"http://{self.host}/v2/{repository}/blobs/uploads/"
        location = _send("POST", url, b"", {})["Location"]
        join = "&" if "?" in location else "?"
        headers = {"Content-Type": "application/octet-stream"}
        _send("PUT", f"{location}{join}{urlencode({'digest': digest})}", data, headers)
        return {"digest": digest, "size": len(data)}

    def layer(
        self, repository: str, data: bytes, media_type: str, **annotations: str
    ) -> dict[str, Any]:
        made = self.blob(repository, data) | {"mediaType": media_type}
        return made | ({"annotations": annotations} if annotations else {})

    def manifest(self, repository: str, reference: str, *layers: dict[str, Any]) -> str:
        """Its digest. ``reference``: the tag."""
        config = self.layer(repository, b"{}", "application/vnd.oci.image.config.v1+json")
        body = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": list(layers)}
        return self.put(repository, reference, body, MANIFEST)

    def put(self, repository: str, reference: str, body: Mapping[str, Any], media_type: str) -> str:
        data = json.dumps(body).encode()
        url = f"http://{self.host}/v2/{repository}/manifests/{reference}"
        _send("PUT", url, data, {"Content-Type": media_type})
        return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _send(method: str, url: str, data: bytes, headers: Mapping[str, str]) -> Mapping[str, str]:
    request = urllib.request.Request(url, data, dict(headers), method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return dict(answer.headers)
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{method} {url}: {error.code} {error.read()!r}") from error


def tar(files: Mapping[str, bytes], *, compressed: bool = False) -> bytes:
    """Files by name; one that ends in a slash is a folder, and a value of links' `-> target` makes a link."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name.rstrip("/"))
            if name.endswith("/"):
                entry.type = tarfile.DIRTYPE
            elif data.startswith(b"-> "):
                entry.type = tarfile.SYMTYPE
                entry.linkname = data.removeprefix(b"-> ").decode()
            else:
                entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return gzip.compress(made.getvalue(), mtime=0) if compressed else made.getvalue()


@dataclass
class Tokens:
    """A server that gives tokens for a registry: to USER, and to nobody for what is ``public``. ``url``: of it.
    ``asked``: how often it was. ``seconds``: how long the registry takes each.
    """

    folder: Path
    url: str = ""
    public: set[str] = field(default_factory=set)
    asked: int = 0
    seconds: int = 300

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _ISSUER)])
        now = datetime.datetime.now(datetime.UTC)
        day = datetime.timedelta(days=1)
        self._certificate = (
            x509.CertificateBuilder(name, name, self._key.public_key(), 1, now - day, now + day)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self._bundle = self.folder / "tokens.pem"
        self._bundle.write_bytes(self._certificate.public_bytes(Encoding.PEM))

    def auth(self) -> dict[str, Any]:
        """For the configuration of a registry."""
        return {
            "token": {
                "realm": self.url,
                "service": _SERVICE,
                "issuer": _ISSUER,
                "rootcertbundle": str(self._bundle),
            }
        }

    def token(self, repository: str) -> str:
        """It lets whoever has it pull from there."""
        now = int(time.time())
        chain = [base64.b64encode(self._certificate.public_bytes(Encoding.DER)).decode()]
        header = {"typ": "JWT", "alg": "ES256", "x5c": chain}
        access = [{"type": "repository", "name": repository, "actions": ["pull"]}]
        claims = {
            "iss": _ISSUER,
            "aud": _SERVICE,
            "sub": "",
            "nbf": now - 10,
            "iat": now,
            "exp": now + self.seconds - _LEEWAY,
            "jti": str(now),
            "access": access,
        }
        text = f"{_encoded(json.dumps(header).encode())}.{_encoded(json.dumps(claims).encode())}"
        signature = self._key.sign(text.encode(), ec.ECDSA(hashes.SHA256()))
        joined = b"".join(part.to_bytes(32, "big") for part in decode_dss_signature(signature))
        return f"{text}.{_encoded(joined)}"


@contextlib.contextmanager
def tokens(folder: Path) -> Iterator[Tokens]:
    made = Tokens(folder)
    basic = f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.asked += 1
            scope = parse_qs(urlsplit(self.path).query).get("scope", ["::"])[0]
            repository = scope.split(":")[1]
            shown = self.headers.get("Authorization")
            allowed = shown == basic or (shown is None and repository in made.public)
            body = json.dumps({"token": made.token(repository)}).encode() if allowed else b""
            self.send_response(200 if allowed else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer((HOST, 0), Handler)
    made.url = f"http://{HOST}:{server.server_address[1]}/token"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
