"""Sources that are wrong, each in one way and behind a proxy of its own, so that all can be met at once."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.e2e.away import Away, remote
from tests.e2e.everywhere import content
from tests.e2e.zoo import TrainedModel
from tests.stores.certificates import Authority
from tests.stores.hub import Hub, hub
from tests.stores.nginx import Nginx, nginx
from tests.stores.processes import HOST
from tests.stores.proxy import Faults, Proxy, proxy
from tests.stores.s3 import S3Store, moto_s3, rclone_s3

POLICY = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
}
BUCKET = "shelf"


@dataclass(frozen=True, slots=True)
class Bad:
    """``uri``, and ``secret`` by name; ``said``: what people are to be told, wherever they look."""

    uri: str
    said: str
    secret: str = ""

    def manifest(self, model: TrainedModel) -> dict[str, Any]:
        return remote(model, self.uri, **({"secretName": self.secret} if self.secret else {}))


@dataclass
class BadSources:
    """``strict``: moto's, which looks at who asks. ``secrets``: parameters of remotes of S3, by name."""

    strict: S3Store
    quick: S3Store
    web: Nginx
    hub: Hub
    stack: contextlib.ExitStack
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)

    def front(self, port: int, faults: Faults) -> Proxy:
        """A proxy with these faults until the end."""
        made = self.stack.enter_context(proxy(port))
        made.faults = faults
        return made

    def s3(self, name: str, faults: Faults) -> str:
        """A secret of that name, whose endpoint has these faults."""
        front = self.front(self.quick.port, faults)
        self.secrets[name] = self.quick.remote(endpoint=f"http://{HOST}:{front.port}")
        return name

    def http(self, path: str, faults: Faults) -> str:
        """The address of something of the web server's, behind these faults."""
        return f"http://{HOST}:{self.front(self.web.port, faults).port}/{path}"

    def tell_secrets(self, running: Away) -> None:
        for name, parameters in self.secrets.items():
            running.set_secret(name, "s3", parameters, "s3")


@contextlib.contextmanager
def bad_sources(folder: Path, model: TrainedModel) -> Iterator[BadSources]:
    """Every store has the model below ``models/good``."""
    root = folder / "web"
    (root / "models" / "good").mkdir(parents=True)
    (root / "models" / "good" / "model.joblib").write_bytes(content(model))
    with contextlib.ExitStack() as stack:
        self_signed = {"self": Authority(folder).self_signed("self")}
        made = BadSources(
            stack.enter_context(moto_s3(folder)),
            stack.enter_context(rclone_s3(folder / "quick")),
            stack.enter_context(nginx(folder / "nginx", root, self_signed)),
            stack.enter_context(hub()),
            stack,
        )
        for store in (made.strict, made.quick):
            store.make_bucket(BUCKET)
            store.put(BUCKET, "models/good/model.joblib", content(model))
        made.strict.put_mark(BUCKET, "models/empty/")
        made.hub.commit("you/iris", {"model.joblib": content(model)})
        key, secret_key = made.strict.new_user("keeper", POLICY)
        good = made.strict.remote(access_key_id=key, secret_access_key=secret_key)
        made.secrets["good"] = good
        made.secrets["quick"] = made.quick.remote()
        made.secrets["wrong-key"] = good | {"access_key_id": "AKIANOBODYKNOWSTHIS1"}
        made.secrets["wrong-secret-key"] = good | {"secret_access_key": "not-the-key-of-keeper"}
        stack.enter_context(made.strict.be_strict())
        yield made


def refused_ones(sources: BadSources) -> dict[str, Bad]:
    """What an apply can see is wrong for good, by name."""
    good = f"s3://{BUCKET}/models/good"
    region = answer(301, "PermanentRedirect", "x-amz-bucket-region: eu-west-1\r\n")
    hour = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    skewed = answer(403, "RequestTimeTooSkewed", f"Date: {hour}\r\n")
    metadata = "http://169.254.169.254/latest/meta-data/"
    tls = f"https://localhost:{sources.web.tls['self']}/models/good/"
    return {
        "wrong-key": Bad(good, "secret 'wrong-key': access_key_id is not known", "wrong-key"),
        "wrong-secret-key": Bad(
            good,
            "secret 'wrong-secret-key': secret_access_key does not belong to access_key_id",
            "wrong-secret-key",
        ),
        "secret-unknown": Bad(good, "nobody-set-it", "nobody-set-it"),
        "wrong-bucket": Bad("s3://nowhere/models/good", "no bucket 'nowhere'", "good"),
        "wrong-folder": Bad(f"s3://{BUCKET}/models/goof", "has nothing at 'models/goof'", "good"),
        "empty-folder": Bad(f"s3://{BUCKET}/models/empty", "models/empty", "good"),
        "wrong-region": Bad(good, "is in region eu-west-1", sources.s3("region", region)),
        "skewed": Bad(good, "this machine's clock is off by", sources.s3("skewed", skewed)),
        "to-file": Bad(
            sources.http("models/good/", redirect("file:///etc/passwd")), "'file' address"
        ),
        "to-metadata": Bad(sources.http("models/good/", redirect(metadata)), "169.254.169.254"),
        "untrusted": Bad(tls, "certificate"),
        "no-revision": Bad("hf://you/iris@nosuch", "no revision nosuch"),
    }


def answer(status: int, code: str, head: str = "") -> Faults:
    """What S3 says for an error, to every request."""
    body = f"<Error><Code>{code}</Code><Message>no</Message></Error>"
    return _told(f"{status} No", f"Content-Type: application/xml\r\n{head}", body)


def redirect(location: str) -> Faults:
    return _told("302 Found", f"Location: {location}\r\n")


def busy(seconds: int) -> Faults:
    return _told("429 Too Many Requests", f"Retry-After: {seconds}\r\n")


def _told(status: str, head: str, body: str = "") -> Faults:
    told = (
        f"HTTP/1.1 {status}\r\n{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
    )
    return Faults(answer=told.encode())


@contextlib.contextmanager
def liar(data: bytes) -> Iterator[str]:
    """The address of a file of which its server says that it is longer than what it then sends."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.told(len(data) + 1)

        def do_GET(self) -> None:
            self.told(len(data))
            self.wfile.write(data)

        def told(self, length: int) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(length))
            self.send_header("ETag", '"same"')
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer((HOST, 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_address[1]}/model.joblib"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
