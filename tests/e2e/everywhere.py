"""One store of every kind that models come from, each with a proxy before it that counts, and one model in each."""

from __future__ import annotations

import contextlib
import io
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.e2e.away import remote, secret
from tests.e2e.zoo import TrainedModel, train
from tests.stores import hub as hubs
from tests.stores.certificates import Authority
from tests.stores.mlflow import TrackingServer, tracking_server
from tests.stores.nginx import Nginx, nginx
from tests.stores.processes import HOST
from tests.stores.proxy import Faults, Proxy, proxy
from tests.stores.registry import PASSWORD, USER, Pusher, registry, tar, with_password
from tests.stores.s3 import S3Store, moto_s3, rclone_s3
from tests.stores.sftp import SftpStore, sftp

TITLE = "org.opencontainers.image.title"


@dataclass
class Everywhere:
    """``fronts``: the proxies by the name of their store. ``models``: by where they are; ``manifests``: of each.

    ``in_folder``: secrets for a folder; ``told``: variables, with a secret among them.
    """

    folder: Path
    fronts: dict[str, Proxy] = field(default_factory=dict)
    models: dict[str, TrainedModel] = field(default_factory=dict)
    manifests: dict[str, dict[str, Any]] = field(default_factory=dict)
    in_folder: dict[str, str] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)
    s3: S3Store = field(init=False)

    def add(self, model: TrainedModel, where: str, uri: str, **spec: Any) -> None:
        """A model that is there."""
        model = replace(model, name=where)
        self.models[where] = model
        self.manifests[where] = remote(model, uri, **spec)

    def forget(self) -> None:
        for front in self.fronts.values():
            front.forget()

    def asked(self) -> dict[str, int]:
        """Connections to each store since `forget`, of those that had any."""
        return {name: front.accepted for name, front in self.fronts.items() if front.accepted}

    @contextlib.contextmanager
    def gone(self) -> Iterator[None]:
        """Inside, nobody can be reached."""
        with contextlib.ExitStack() as stack:
            for front in self.fronts.values():
                stack.enter_context(front.with_faults(Faults(refuse=True)))
            yield


@contextlib.contextmanager
def everywhere(folder: Path) -> Iterator[Everywhere]:
    made = Everywhere(folder)
    names = [
        *("s3", "gs", "sftp", "https", "web-folder", "targz", "zip", "hf", "hf-commit", "oci"),
        *("oci-digest", "mlflow-version", "mlflow-alias", "file"),
    ]
    models = {
        name: train(folder / "zoo", name, megabytes=8 if name == "s3" else 1, seed=number)
        for number, name in enumerate(names)
    }
    with contextlib.ExitStack() as stack:
        _buckets(stack, made, models)
        _web(stack, made, models)
        _hub(stack, made, models)
        _registry(stack, made, models)
        _mlflow(stack, made, models)
        _sftp(stack, made, models["sftp"])
        made.add(models["file"], "file", f"file://{os.uname().nodename}{models['file'].folder}")
        yield made


def content(model: TrainedModel) -> bytes:
    return (model.folder / "model.joblib").read_bytes()


def _buckets(
    stack: contextlib.ExitStack, made: Everywhere, models: dict[str, TrainedModel]
) -> None:
    made.s3 = stack.enter_context(moto_s3(made.folder))
    made.fronts["s3"] = made.s3.front
    made.s3.make_bucket("models")
    # More than 5 MiB: it is uploaded in parts.
    made.s3.put("models", "large/model.joblib", content(models["s3"]))
    made.add(models["s3"], "s3", "s3://models/large", secretName="minio")
    google = stack.enter_context(rclone_s3(made.folder / "google"))
    made.fronts["gs"] = google.front
    google.put("seldon-models", "mlserver/iris/model.joblib", content(models["gs"]))
    made.in_folder["google"] = secret("gs", "s3", google.remote())
    made.add(models["gs"], "gs", "gs://seldon-models/mlserver/iris", secretName="google")


def _web(stack: contextlib.ExitStack, made: Everywhere, models: dict[str, TrainedModel]) -> None:
    authority = Authority(made.folder)
    root = made.folder / "web"
    (root / "folder" / "model").mkdir(parents=True)
    server = stack.enter_context(
        nginx(made.folder / "nginx", root, {"good": authority.sign("good")})
    )
    front, tls = _front(stack, made, "web", server.port), _front(stack, made, "https", _tls(server))
    made.told["SSL_CERT_FILE"] = str(authority.certificate)
    (root / "model.joblib").write_bytes(content(models["https"]))
    made.add(models["https"], "https", f"https://localhost:{tls.port}/model.joblib")
    (root / "folder" / "model" / "model.joblib").write_bytes(content(models["web-folder"]))
    made.add(models["web-folder"], "web-folder", f"http://{HOST}:{front.port}/folder/model/")
    archive = tar({"model.joblib": content(models["targz"])}, compressed=True)
    (root / "model.tar.gz").write_bytes(archive)
    made.add(models["targz"], "targz", f"http://{HOST}:{front.port}/model.tar.gz")
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as file:
        file.writestr("model.joblib", content(models["zip"]))
    (root / "model.zip").write_bytes(zipped.getvalue())
    made.add(models["zip"], "zip", f"http://{HOST}:{front.port}/model.zip")


def _tls(server: Nginx) -> int:
    return server.tls["good"]


def _hub(stack: contextlib.ExitStack, made: Everywhere, models: dict[str, TrainedModel]) -> None:
    hub = stack.enter_context(hubs.hub())
    front = _front(stack, made, "hf", int(hub.url.rpartition(":")[2]))
    elsewhere = _front(stack, made, "hf-large", int(hub.elsewhere.rpartition(":")[2]))
    hub.elsewhere = f"http://{HOST}:{elsewhere.port}"
    made.told["HF_ENDPOINT"] = f"http://{HOST}:{front.port}"
    files = {"README.md": b"a model", "model.joblib": content(models["hf"])}
    hub.commit("you/iris", files, large=("model.joblib",))
    made.add(models["hf"], "hf", "hf://you/iris")
    commit = hub.commit("you/wine", {"model.joblib": content(models["hf-commit"])})
    made.add(models["hf-commit"], "hf-commit", f"hf://you/wine@{commit}")


def _registry(
    stack: contextlib.ExitStack, made: Everywhere, models: dict[str, TrainedModel]
) -> None:
    folder = made.folder / "registry"
    pusher = Pusher(stack.enter_context(registry(folder)))
    closed = stack.enter_context(registry(folder, with_password(folder)))
    front = _front(stack, made, "oci", int(closed.rpartition(":")[2]))
    made.told["OVERBOOK_SECRET_REGISTRY"] = secret(
        "oci", "oci", {"username": USER, "password": PASSWORD}
    )
    kind = "application/vnd.example.model"
    layer = pusher.layer("iris", content(models["oci"]), kind, **{TITLE: "model.joblib"})
    pusher.manifest("iris", "latest", layer)
    made.add(models["oci"], "oci", f"oci://{HOST}:{front.port}/iris:latest", secretName="registry")
    layer = pusher.layer("wine", content(models["oci-digest"]), kind, **{TITLE: "model.joblib"})
    digest = pusher.manifest("wine", "1", layer)
    uri = f"oci://{HOST}:{front.port}/wine@{digest}"
    made.add(models["oci-digest"], "oci-digest", uri, secretName="registry")


def _mlflow(stack: contextlib.ExitStack, made: Everywhere, models: dict[str, TrainedModel]) -> None:
    server: TrackingServer = stack.enter_context(tracking_server(made.folder / "mlflow"))
    front = _front(stack, made, "mlflow", server.port)
    made.told["MLFLOW_TRACKING_URI"] = f"http://{HOST}:{front.port}"
    version, alias = models["mlflow-version"], models["mlflow-alias"]
    first, second = server.log(("iris", version.folder), ("iris", alias.folder))
    server.set_alias("iris", "champion", second)
    made.add(version, "mlflow-version", f"models:/iris/{first}")
    made.add(alias, "mlflow-alias", "models:/iris@champion")


def _sftp(stack: contextlib.ExitStack, made: Everywhere, model: TrainedModel) -> None:
    store: SftpStore = stack.enter_context(sftp(made.folder / "sftp"))
    made.fronts["sftp"] = store.front
    store.put("model/model.joblib", content(model))
    key = (store.keys / "client_key").read_text()
    host_key = " ".join((store.keys / "host_key.pub").read_text().split()[:2])
    made.in_folder["files"] = secret("sftp", "sftp", {"key_pem": key, "host_keys": host_key})
    made.add(model, "sftp", f"{store.address}/model", secretName="files")


def _front(stack: contextlib.ExitStack, made: Everywhere, name: str, port: int) -> Proxy:
    front = made.fronts[name] = stack.enter_context(proxy(port))
    return front
