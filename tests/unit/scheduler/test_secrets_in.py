"""Secrets in the state: written, named by models, bounded, and gone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from overbook.artifacts.secrets.remote import RemoteSecret
from overbook.scheduler import secrets_in
from overbook.scheduler.errors import Conflict, NotFound
from overbook.scheduler.messages import secrets
from overbook.scheduler.records import StoredSecret
from overbook.scheduler.rows import batch_of
from overbook.scheduler.store import SecretRow
from overbook.wire import scheduler_pb2 as pb
from tests.unit.scheduler.world import World

MINIO = RemoteSecret("minio", "s3", "s3", {"key": "hunter2"})
STORED = StoredSecret(b"sealed", 1.5, MINIO)


def test_one_that_is_set_is_written_and_told() -> None:
    world = World()
    secrets_in.put(world.state, "minio", STORED)
    secrets_in.put(world.state, "broken", replace(STORED, remote=None, trouble="no key"))
    changes = world.state.take_changes(1.0)
    assert changes.durable
    assert changes.of_secrets
    rows = [SecretRow("broken", b"sealed", 1.5), SecretRow("minio", b"sealed", 1.5)]
    assert list(batch_of(world.state, changes).secrets) == rows
    told = pb.Secret(name="minio", remote="s3", type="s3", parameters={"key": "hunter2"})
    assert secrets(world.state) == pb.Secrets(secrets=[told])
    assert not world.state.take_changes(2.0).of_secrets


def test_one_that_is_gone_is_named_with_the_models_that_need_it() -> None:
    world = World()
    for number in range(7):
        world.apply(f"m{number}", secretName="minio")
    world.apply("other", secretName="other")
    secrets_in.put(world.state, "minio", STORED)
    world.state.take_changes(1.0)
    (told,) = secrets_in.remove(world.state, "minio")
    assert "'minio' is named by models m0, m1, m2, m3, m4 and 2 more" in told
    changes = world.state.take_changes(2.0)
    batch = batch_of(world.state, changes)
    assert (list(batch.secrets), list(batch.gone_secrets)) == ([], ["minio"])
    assert secrets(world.state) == pb.Secrets()
    with pytest.raises(NotFound, match="'minio' is not stored"):
        secrets_in.remove(world.state, "minio")
    secrets_in.put(world.state, "unused", STORED)
    assert secrets_in.remove(world.state, "unused") == []


def test_set_and_deleted_in_one_step_is_as_it_ended() -> None:
    world = World()
    secrets_in.put(world.state, "minio", STORED)
    secrets_in.remove(world.state, "minio")
    secrets_in.put(world.state, "minio", STORED)
    batch = batch_of(world.state, world.state.take_changes(1.0))
    assert ([row.name for row in batch.secrets], list(batch.gone_secrets)) == (["minio"], [])


def test_who_names_which() -> None:
    world = World()
    for name, secret in (("b", "minio"), ("a", "minio"), ("c", "other"), ("d", None)):
        world.apply(name, secretName=secret)
    assert secrets_in.users(world.state) == {"minio": ["a", "b"], "other": ["c"]}
    assert secrets_in.users_of(world.state, "minio") == ["a", "b"]


def test_all_of_them_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    monkeypatch.setattr(secrets_in, "MOST", 2)
    for name in ("a", "b"):
        secrets_in.put(world.state, name, STORED)
    secrets_in.refuse_too_many(world.state, replace(MINIO, secret="a"))
    with pytest.raises(Conflict, match="there are 2 secrets already, the most that can be"):
        secrets_in.refuse_too_many(world.state, replace(MINIO, secret="c"))
    monkeypatch.setattr(secrets_in, "MOST", 9)
    monkeypatch.setattr(secrets_in, "MOST_BYTES", 23)
    secrets_in.refuse_too_many(world.state, replace(MINIO, secret="c", parameters={"k": "1" * 10}))
    with pytest.raises(Conflict, match="have more than 23 bytes with this one"):
        secrets_in.refuse_too_many(
            world.state, replace(MINIO, secret="c", parameters={"k": "1" * 11})
        )
