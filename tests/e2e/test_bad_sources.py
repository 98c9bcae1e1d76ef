"""What is wrong with a source is told in one line by whoever is asked, and nobody else notices."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.e2e.away import Away, remote
from tests.e2e.bad_sources import BUCKET, Bad, BadSources, bad_sources, busy, liar, refused_ones
from tests.e2e.everywhere import content
from tests.e2e.process import Result, dump, oip_error, server_manifest, wait_until
from tests.e2e.steady import Asker, Steady
from tests.e2e.zoo import TrainedModel, train
from tests.stores.proxy import Faults

GOOD = f"s3://{BUCKET}/models/good"
# Seconds, of the good model's slowest request while all else is wrong.
LONGEST = 2.0


@pytest.fixture(scope="module")
def model(home: Path) -> TrainedModel:
    return train(home / "zoo", "good", megabytes=2, seed=3)


@pytest.fixture(scope="module")
def sources(home: Path, model: TrainedModel) -> Iterator[BadSources]:
    with bad_sources(home, model) as made:
        yield made


@pytest.fixture(scope="module")
def bad(sources: BadSources) -> dict[str, Bad]:
    return refused_ones(sources)


@pytest.fixture(scope="module")
def running(
    home: Path, sources: BadSources, bad: dict[str, Bad], model: TrainedModel
) -> Iterator[Away]:
    early = remote(replace(model, name="early"), GOOD, secretName="late")
    manifests = dump(home / "early.yaml", server_manifest("200Mi"), early)
    made = Away(home / "up", "-f", str(manifests), HF_ENDPOINT=sources.hub.url).start()
    with contextlib.ExitStack() as stack:
        stack.push(made)
        made.wait_served()
        sources.tell_secrets(made)
        applied = made.apply(remote(model, GOOD, secretName="good"))
        assert applied.code == 0, applied.err
        with Steady(made.port, model) as steady:
            yield made
        assert steady.longest < LONGEST


@pytest.fixture(scope="module")
def hanging(running: Away, sources: BadSources, model: TrainedModel) -> Iterator[list[Result]]:
    """What is said, after a while, of sources that say nothing: the others go on meanwhile."""
    uri = sources.http("models/good/", Faults(hang_after=0))
    manifests = [
        remote(replace(model, name="hangs-web"), uri),
        remote(
            replace(model, name="hangs-s3"),
            GOOD,
            secretName=sources.s3("hangs", Faults(hang_after=0)),
        ),
    ]
    running.set_secret("hangs", "s3", sources.secrets["hangs"], "s3")
    found: list[Result] = []
    thread = threading.Thread(
        target=lambda: found.append(running.apply(*manifests, wait=False)), name="hanging"
    )
    thread.start()
    yield found
    thread.join()


def test_a_secret_that_comes_late_is_enough(
    running: Away, sources: BadSources, model: TrainedModel
) -> None:
    """It was registered before anybody could look."""
    running.wait_for("early", "secret 'late' is not known")
    assert "secret 'late' is not known" in running.run("get", "models", "-o", "wide").out
    running.set_secret("late", "s3", sources.secrets["good"], "s3")
    assert running.run("wait", "model", "early", "--timeout", "60s").code == 0
    running.assert_right(replace(model, name="early"))


def test_apply_tells_what_will_not_mend_itself(
    running: Away, hanging: list[Result], bad: dict[str, Bad], model: TrainedModel
) -> None:
    manifests = {name: each.manifest(replace(model, name=name)) for name, each in bad.items()}
    applied = running.apply(*manifests.values(), wait=False)
    assert applied.code == 1
    lines = applied.err.splitlines()
    assert len(lines) == len(bad), applied.err
    for line, (name, each) in zip(lines, bad.items(), strict=True):
        assert f"model/{name} failed: spec.storageUri: " in line
        assert each.said in line
    names = {each["metadata"]["name"] for each in running.models()}
    assert not names & set(bad)


def test_what_may_pass_is_registered_and_heals_by_itself(
    running: Away, sources: BadSources, model: TrainedModel
) -> None:
    down, later = (sources.front(sources.web.port, each) for each in (Faults(refuse=True), busy(2)))
    manifests = {
        "down": f"http://127.0.0.1:{down.port}/models/good/",
        "later": f"http://127.0.0.1:{later.port}/models/good/model.joblib",
    }
    models = [replace(model, name=name) for name in manifests]
    applied = running.apply(*(remote(each, manifests[each.name]) for each in models), wait=False)
    assert applied.code == 0
    told = {"down": "127.0.0.1", "later": "later"}
    for name, text in told.items():
        said = running.wait_for(name, text)
        assert "\n" not in said
        assert text in running.run("describe", "model", name).out
        answer = ask(running, replace(model, name=name))
        assert text in answer
    down.faults = later.faults = Faults()
    waited = running.run("wait", "model", *manifests, "--timeout", "60s")
    assert waited.code == 0, waited.err
    running.assert_right(*models)


def test_what_comes_otherwise_than_it_was_announced_is_not_served(
    running: Away, sources: BadSources, model: TrainedModel
) -> None:
    size = len(content(model))
    damaged = sources.front(sources.quick.port, Faults(damage_at=size // 2))
    running.set_secret(
        "damaged", "s3", sources.quick.remote(endpoint=f"http://127.0.0.1:{damaged.port}"), "s3"
    )
    cut = sources.http("models/good/model.joblib", Faults(cut_after=size // 2))
    models = [replace(model, name=name) for name in ("damaged", "cut", "longer")]
    with liar(content(model)) as longer:
        applied = running.apply(
            remote(models[0], f"{GOOD}/model.joblib", secretName="damaged"),
            remote(models[1], cut),
            remote(models[2], longer),
            wait=False,
        )
        assert applied.code == 0, applied.err
        for name in ("damaged", "longer"):
            said = running.wait_for(name, "model.joblib")
            assert "\n" not in said
            failed = [each for each in running.events(name) if each["reason"] == "ArtifactFailed"]
            assert len(failed) == 1, running.events(name)
    # Each connection is cut in the middle, and so the next one goes on there.
    assert running.run("wait", "model", "cut", "--timeout", "60s").code == 0
    running.assert_right(models[1])
    damaged.faults = Faults()
    assert running.run("wait", "model", "damaged", "--timeout", "60s").code == 0
    running.assert_right(models[0])


def test_what_changes_while_it_is_copied_is_one_or_the_other(
    home: Path, running: Away, sources: BadSources, model: TrainedModel
) -> None:
    changed = replace(train(home / "zoo", "changed", megabytes=2, seed=8), name="changing")
    folder = sources.web.root / "changing"
    folder.mkdir()
    file = folder / "model.joblib"
    file.write_bytes(content(model))
    uri = sources.http("changing/model.joblib", Faults(rate=1_000_000))
    assert running.apply(remote(changed, uri), wait=False).code == 0
    wait_until("its fetch began", lambda: list(running.cache.glob(".incoming/*")), pause=0.01)
    time.sleep(0.5)
    (folder / "new").write_bytes(content(changed))
    (folder / "new").rename(file)
    waited = running.run("wait", "model", "changing", "--timeout", "60s")
    assert waited.code == 0, waited.err
    running.assert_right(changed)


def test_a_source_that_is_gone_and_a_secret_that_is_wrong_are_told_when_files_are_needed(
    home: Path, running: Away, sources: BadSources
) -> None:
    trained = train(home / "zoo", "leaving", megabytes=1, seed=9)
    sources.quick.put(BUCKET, "leaving/model.joblib", content(trained))
    before = set(running.artifacts())
    uri = f"s3://{BUCKET}/leaving"
    assert running.apply(remote(trained, uri, secretName="quick")).code == 0
    [folder] = set(running.artifacts()) - before
    running.assert_right(trained)

    def lose() -> None:
        shutil.rmtree(folder)
        assert running.run("evict", "leaving").code == 0

    wrong = sources.quick.remote(secret_access_key="another")
    running.set_secret("quick", "s3", wrong, "s3")
    lose()
    assert "secret_access_key does not belong" in ask(running, trained)
    running.set_secret("quick", "s3", sources.secrets["quick"], "s3")
    wait_until("it answers again", lambda: ask(running, trained) == "")
    running.assert_right(trained)

    sources.quick.remove(BUCKET, "leaving/model.joblib")
    lose()
    said = ask(running, trained)
    assert "leaving" in said
    assert "has nothing at" in said
    sources.quick.put(BUCKET, "leaving/model.joblib", content(trained))
    assert running.apply(remote(trained, uri, secretName="quick")).code == 0
    running.assert_right(trained)


def test_what_says_nothing_is_given_up(running: Away, hanging: list[Result]) -> None:
    wait_until("apply has answered", lambda: hanging)
    [applied] = hanging
    assert applied.code == 0, applied.err
    for name in ("hangs-web", "hangs-s3"):
        said = running.message(name)
        assert said
        assert "\n" not in said
        assert said in applied.err.replace("\n", " ") or "did not end" in said, applied.err


def ask(running: Away, model: TrainedModel) -> str:
    """The error of a request, "" where there is none."""
    with Asker(running.port, model.name, model.inputs) as asker:
        response = asker.rest()
    if response.status_code != 200:
        assert response.status_code == 503, response.text
        return oip_error(response)
    assert np.allclose(response.json()["outputs"][0]["data"], model.expected)
    return ""
