"""All secrets that an agent knows: who is asked first, and who is told when one is another."""

from __future__ import annotations

from pathlib import Path

import pytest

from overbook.artifacts.secrets.errors import SecretError
from overbook.artifacts.secrets.known import SecretPlaces, Secrets
from overbook.artifacts.secrets.remote import RemoteSecret

TEXT = "name: {0}\ntype: s3\n"


class Known:
    """Secrets of a scheduler, a folder and an environment, and what was told of them."""

    def __init__(self, folder: Path, **variables: str) -> None:
        self.folder = folder
        self.told: list[set[str]] = []
        self.secrets = Secrets(
            SecretPlaces(folder, variables), lambda names: self.told.append(set(names))
        )

    def schedule(self, *remotes: tuple[str, str]) -> None:
        self.secrets.update(RemoteSecret(name, remote, "s3", {}) for name, remote in remotes)

    def where(self, name: str) -> str:
        """The remote's own name says where it is from."""
        return self.secrets.find(name).name


def test_the_scheduler_is_asked_first_then_the_folder_then_the_environment(tmp_path: Path) -> None:
    known = Known(tmp_path, OVERBOOK_SECRET_A=TEXT.format("variable"))
    assert known.where("a") == "variable"
    (tmp_path / "a").write_text(TEXT.format("folder"))
    assert known.where("a") == "folder"
    known.schedule(("a", "scheduler"))
    assert known.where("a") == "scheduler"
    known.schedule()
    assert known.where("a") == "folder"


def test_one_that_nobody_has_is_told_with_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(SecretError) as raised:
        Known(tmp_path).secrets.find("minio")
    assert str(raised.value) == (
        f"secret 'minio' is not known: `overbook secret list` has none of that name, {tmp_path} has no minio, and "
        "OVERBOOK_SECRET_MINIO is not set; run `overbook secret set minio --from FILE`"
    )
    with pytest.raises(SecretError, match="no --secrets folder was given, and OVERBOOK"):
        Secrets(SecretPlaces(), lambda names: None).find("minio")


@pytest.mark.parametrize("place", ["scheduler", "folder", "environment"])
def test_one_that_is_nearly_called_so_is_named(tmp_path: Path, place: str) -> None:
    there = place == "environment"
    known = Known(tmp_path, **({"OVERBOOK_SECRET_MY_MINIO": "unread"} if there else {}))
    if place == "scheduler":
        known.schedule(("my-minio", "s3"))
    if place == "folder":
        (tmp_path / "my-minio").write_text("unread")
    with pytest.raises(SecretError) as raised:
        known.secrets.find("my-mino")
    assert "secret 'my-mino' is not known (did you mean 'my-minio'?): `over" in str(raised.value)
    assert str(raised.value).endswith("run `overbook secret set my-mino --from FILE`")
    with pytest.raises(SecretError, match="secret 'hub' is not known: `over"):
        known.secrets.find("hub")


def test_a_folder_that_is_gone_names_nobody(tmp_path: Path) -> None:
    with pytest.raises(SecretError, match="secret 'minio' is not known: "):
        Known(tmp_path / "gone").secrets.find("minio")


def test_a_broken_one_is_not_passed_over(tmp_path: Path) -> None:
    known = Known(tmp_path, OVERBOOK_SECRET_A=TEXT.format("variable"))
    (tmp_path / "a").write_text("broken")
    with pytest.raises(SecretError, match="secret 'a': is no mapping"):
        known.secrets.find("a")


def test_what_the_scheduler_changes_is_told_and_nothing_else(tmp_path: Path) -> None:
    known = Known(tmp_path)
    known.schedule(("a", "1"), ("b", "1"))
    known.schedule(("a", "1"), ("b", "1"))
    known.schedule(("a", "2"), ("c", "1"))
    assert known.told == [{"a", "b"}, {"a", "b", "c"}]


async def test_what_was_asked_for_is_told_when_the_folder_has_another(tmp_path: Path) -> None:
    known = Known(tmp_path)
    await known.secrets.look_again()
    with pytest.raises(SecretError, match="not known"):
        known.secrets.find("a")
    (tmp_path / "b").write_text(TEXT.format("nobody asked for it"))
    await known.secrets.look_again()
    assert known.told == []
    (tmp_path / "a").write_text("broken")
    await known.secrets.look_again()
    (tmp_path / "a").write_text(TEXT.format("folder"))
    await known.secrets.look_again()
    await known.secrets.look_again()
    assert known.told == [{"a"}, {"a"}]
    known.schedule(("a", "scheduler"))
    await known.secrets.look_again()
    assert known.told == [{"a"}, {"a"}, {"a"}]


async def test_only_so_many_are_remembered(tmp_path: Path) -> None:
    known = Known(tmp_path)
    (tmp_path / "s0").write_text(TEXT.format("folder"))
    (tmp_path / "s1").write_text(TEXT.format("folder"))
    assert (known.where("s0"), known.where("s1")) == ("folder", "folder")
    for number in range(2, 1001):
        with pytest.raises(SecretError):
            known.secrets.find(f"s{number}")
    for name in ("s0", "s1"):
        (tmp_path / name).unlink()
    await known.secrets.look_again()
    assert known.told == [{"s1"}]
