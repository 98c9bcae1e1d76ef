"""One model of every kind of source: all serve, and from then on nobody is asked again, whatever happens to us."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.e2e.away import Away, predicted_apart
from tests.e2e.everywhere import Everywhere, everywhere
from tests.e2e.process import server_manifest

PINNED = ("hf-commit", "oci-digest", "mlflow-version")


@pytest.fixture(scope="module")
def sources(home: Path) -> Iterator[Everywhere]:
    with everywhere(home) as made:
        yield made


@pytest.fixture(scope="module")
def manifests(home: Path, sources: Everywhere) -> Path:
    """For `up -f`."""
    path = home / "all.yaml"
    # Memory for some of them.
    server = server_manifest("18Mi", overcommitPercentage=2000)
    path.write_text(yaml.safe_dump_all([server, *sources.manifests.values()]))
    return path


@pytest.fixture(scope="module")
def running(home: Path, sources: Everywhere, manifests: Path) -> Iterator[Away]:
    secrets = home / "secrets"
    secrets.mkdir()
    for name, text in sources.in_folder.items():
        (secrets / name).write_text(text)
    with Away(home / "up", "--secrets", str(secrets), **sources.told) as made:
        made.set_secret("minio", "s3", sources.s3.remote(), "s3")
        applied = made.run("apply", "-f", str(manifests), "--wait", seconds=300)
        assert applied.code == 0, applied.out + applied.err
        yield made


def test_each_answers_as_it_does_in_a_fresh_process(running: Away, sources: Everywhere) -> None:
    models = list(sources.models.values())
    predicted_apart(models)
    running.assert_right(*models)
    assert set(running.states().values()) == {"resident", "cold"}


def test_what_everybody_knows_of_them_has_their_addresses(
    running: Away, sources: Everywhere
) -> None:
    for name, manifest in sources.manifests.items():
        described = running.run("describe", "model", name)
        assert described.code == 0
        assert manifest["spec"]["storageUri"] in described.out.replace("\n", "").replace(" ", "")
        reasons = [each["reason"] for each in running.events(name)]
        assert "ArtifactFailed" not in reasons, running.events(name)


@pytest.mark.parametrize("kill", [False, True])
def test_a_restart_asks_nobody(running: Away, sources: Everywhere, kill: bool) -> None:
    sources.forget()
    running.restarted(kill=kill)
    running.assert_right(*sources.models.values())
    assert sources.asked() == {}


def test_pinned_addresses_are_not_asked_by_apply_either(running: Away, sources: Everywhere) -> None:
    sources.forget()
    applied = running.apply(*(sources.manifests[name] for name in PINNED))
    assert applied.code == 0, applied.err
    assert [line.split()[-1] for line in applied.out.splitlines()[:3]] == ["unchanged"] * 3
    assert sources.asked() == {}


def test_with_the_network_gone_everything_goes_on(
    running: Away, sources: Everywhere, manifests: Path
) -> None:
    models = sources.models.values()
    with sources.gone():
        running.assert_right(*models, *models)
        applied = running.run("apply", "-f", str(manifests), seconds=200)
        assert applied.code == 0, applied.out + applied.err
        assert applied.err.count("warning") >= len(models) - len(PINNED) - 1, applied.err
        assert {line.split()[-1] for line in applied.out.splitlines()} == {"unchanged"}
        running.restarted()
        running.assert_right(*models)
        running.arguments += ("-f", str(manifests))
        running.restarted()
        running.assert_right(*models)
        evicted = running.total("evictions")
        running.assert_right(*models)
        assert running.total("evictions") > evicted
        generations = {each["status"].get("generation") for each in running.models()}
    assert len(generations) == 1
