"""What was fetched is not fetched again: not after a kill, not for others who want the same; but what changed is."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.away import Away, remote
from tests.e2e.everywhere import content
from tests.e2e.process import server_manifest, wait_until
from tests.e2e.steady import Asker, same
from tests.e2e.zoo import TrainedModel, train
from tests.stores.nginx import Nginx, nginx
from tests.stores.proxy import Faults, proxy
from tests.stores.s3 import S3Store, rclone_s3

BUCKET = "shelf"
MB = 1_000_000
# What may be under way of a file when its process is killed: what was read and is not in the file yet.
BUFFER = 8 * MB


@pytest.fixture(scope="module")
def store(home: Path) -> Iterator[S3Store]:
    with rclone_s3(home / "s3") as made:
        yield made


@pytest.fixture(scope="module")
def web(home: Path) -> Iterator[Nginx]:
    root = home / "web"
    root.mkdir()
    with nginx(home / "nginx", root) as made:
        yield made


@pytest.fixture
def running(home: Path, store: S3Store) -> Iterator[Away]:
    with Away(home / f"up-{time.monotonic_ns()}") as made:
        made.set_secret("shelf", "s3", store.remote(), "s3")
        yield made


def put(store: S3Store, model: TrainedModel, folder: str) -> str:
    store.put(BUCKET, f"{folder}/model.joblib", content(model))
    return f"s3://{BUCKET}/{folder}"


def objects(store: S3Store) -> list[str]:
    """Keys of the objects that were asked for since `forget`."""
    return [
        each.path.partition("?")[0].removeprefix(f"/{BUCKET}/")
        for each in store.requests()
        if each.method == "GET" and each.path.partition("?")[0].endswith(".joblib")
    ]


def test_after_a_kill_what_was_whole_is_not_asked_for_again(
    home: Path, running: Away, store: S3Store
) -> None:
    models = [train(home / "zoo", f"killed-{n}", megabytes=0.5, seed=n) for n in range(12)]
    uris = {each.name: put(store, each, each.name) for each in models}
    assert running.apply(server_manifest("200Mi")).code == 0
    store.forget()
    # Slow enough to be killed in the middle of them.
    with store.front.with_faults(Faults(rate=1 * MB)):
        done = running.apply(
            *(remote(each, uris[each.name], secretName="shelf") for each in models), wait=False
        )
        assert done.code == 0, done.err
        wait_until("some are here", lambda: len(whole(running)) >= 3, pause=0.01)
        running.kill()
        here = whole(running)
    assert 3 <= len(here) < len(models)
    names = {each.name for each in models if content(each) in here}
    store.forget()
    running.start().wait_ready()
    waited = running.run("wait", "model", *uris, "--timeout", "100s")
    assert waited.code == 0, waited.err
    running.assert_right(*models)
    asked = objects(store)
    assert len(asked) == len(set(asked)), asked
    assert not {f"{name}/model.joblib" for name in names} & set(asked)
    assert len(running.artifacts()) == len(models)


def whole(running: Away) -> set[bytes]:
    """The files of models that are on the disk and are to stay there after a kill: of whole artifacts, and those that
    rclone has finished.
    """
    found = set()
    with contextlib.suppress(OSError):
        for folder in running.artifacts():
            found |= {each.read_bytes() for each in folder.glob("*.joblib")}
    return found


@pytest.mark.parametrize("source", ["s3", "web"])
def test_a_large_file_goes_on_where_it_was(
    home: Path, running: Away, store: S3Store, web: Nginx, source: str
) -> None:
    large = train(home / "zoo", f"large-{source}", megabytes=60, seed=3)
    if source == "s3":
        uri, front = put(store, large, large.name), store.front
    else:
        (web.root / "model.joblib").write_bytes(content(large))
        front = None
    with contextlib.ExitStack() as stack:
        if front is None:
            front = stack.enter_context(proxy(web.port))
            uri = f"http://127.0.0.1:{front.port}/model.joblib"
        assert running.apply(server_manifest("200Mi")).code == 0
        front.forget()
        with front.with_faults(Faults(rate=15 * MB)):
            done = running.apply(
                remote(large, uri, secretName="shelf" if source == "s3" else None), wait=False
            )
            assert done.code == 0, done.err
            wait_until("half is here", lambda: front.sent > 30 * MB, pause=0.01)
            running.kill()
        assert running.artifacts() == []
        running.start().wait_ready()
        waited = running.run("wait", "model", large.name, "--timeout", "100s")
        assert waited.code == 0, waited.err
        running.assert_right(large)
        assert large.bytes <= front.sent < large.bytes + BUFFER, front.sent


def test_what_several_want_is_fetched_once_and_kept_once(
    home: Path, running: Away, store: S3Store
) -> None:
    trained = train(home / "zoo", "shared", megabytes=3, seed=4)
    uri, again = put(store, trained, "shared"), put(store, trained, "again")
    models = [replace(trained, name=name) for name in ("two-replicas", "same", "equal")]
    store.forget()
    done = running.apply(
        server_manifest("100Mi", replicas=2),
        remote(models[0], uri, secretName="shelf", replicas=2),
        remote(models[1], uri, secretName="shelf"),
    )
    assert done.code == 0, done.err
    assert objects(store) == ["shared/model.joblib"]
    assert running.apply(remote(models[2], again, secretName="shelf")).code == 0
    running.assert_right(*models)
    assert len(running.artifacts()) == 1
    assert running.model("two-replicas")["status"]["replicas"][1]["state"] in ("resident", "cold")
    # The bytes at the other address are only known to be equal when they are here.
    assert objects(store) == ["shared/model.joblib", "again/model.joblib"]


def test_a_source_that_is_refreshed_is_followed_without_an_apply(
    home: Path, running: Away, store: S3Store
) -> None:
    old = train(home / "zoo", "follows", megabytes=0.3, seed=4)
    new = replace(train(home / "zoo", "follows-new", megabytes=0.3, seed=9), name="follows")
    uri = put(store, old, "follows")
    done = running.apply(
        server_manifest("100Mi"), remote(old, uri, secretName="shelf", refresh="10s")
    )
    assert done.code == 0, done.err
    running.assert_right(old)
    put(store, new, "follows")
    with Asker(running.port, "follows", new.inputs) as asker:
        wait_until(
            "the new one answers",
            lambda: same(asker.rest().json()["outputs"][0]["data"], new.expected),
        )
    running.assert_right(new)
    assert "ModelUpdated" in [each["reason"] for each in running.events("follows")]
