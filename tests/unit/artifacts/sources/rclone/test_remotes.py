"""Which remote an address leads to, and with whose identity."""

from __future__ import annotations

import pytest

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.secrets.remote import RemoteSecret

from .made import KEY_ID, MINIO, SECRET_KEY, machine, remote, secret


def test_a_secret_by_its_name_or_by_its_type() -> None:
    by_name = remote("s3://bucket/a", secret("s3", "s3"))
    by_type = remote("s3://bucket/a", secret("minio", "s3"))
    assert by_name.path == by_type.path == "bucket/a"
    assert by_name.parameters["access_key_id"] == KEY_ID
    assert by_name.same_way == by_type.same_way
    # A store that speaks another tongue than the scheme's, as Seldon allows.
    assert remote("gs://bucket/a", secret("gs", "s3")).kind == "s3"


def test_gs_takes_the_long_name_of_its_type() -> None:
    given = secret("x", "google cloud storage", {"anonymous": "true"})
    assert remote("gs://bucket/a", given).kind == "google cloud storage"


def test_a_secret_of_something_else_is_told() -> None:
    with pytest.raises(SourceError) as caught:
        remote("gs://bucket/a", secret("minio", "s3"))
    assert caught.value.trouble is Trouble.BAD_SECRET
    said = str(caught.value)
    assert "secret 'minio'" in said
    assert "of type 's3'" in said
    assert "named 'gs'" in said
    assert "'gs://bucket/a'" in said


@pytest.mark.parametrize(
    "kind", ["local", "alias", "union", "combine", "crypt", "chunker", "cache", "memory", "http"]
)
def test_a_secret_never_leads_to_the_disk_of_the_agent(kind: str) -> None:
    with pytest.raises(SourceError, match="not read from here"):
        remote("s3://etc/passwd", secret("s3", kind, {"remote": "/etc"}))


def test_a_secrets_parameter_that_cannot_be_given_is_named_and_not_told() -> None:
    given = secret(parameters=MINIO | {"secret_access_key": "a\nb"})
    with pytest.raises(SourceError, match="secret 'minio': its secret_access_key") as caught:
        remote("s3://bucket/a", given)
    assert caught.value.trouble is Trouble.BAD_SECRET


def test_nothing_of_a_secret_is_in_any_text() -> None:
    made = remote("s3://bucket/a", secret())
    for text in (repr(made), str(made), repr(made.sections), repr(secret())):
        assert SECRET_KEY not in text
        assert KEY_ID not in text
    assert SECRET_KEY.encode() in made.configuration


def test_with_a_secret_the_machines_identity_stays_away_unless_it_asks() -> None:
    on = machine({"AWS_ACCESS_KEY_ID": "x"})
    assert ("AWS_ACCESS_KEY_ID", "x") not in remote("s3://b/a", secret(), on).environment
    asks = secret(parameters={"env_auth": "true"})
    assert ("AWS_ACCESS_KEY_ID", "x") in remote("s3://b/a", asks, on).environment


def test_without_a_secret_the_machine_is_itself() -> None:
    made = remote("s3://bucket/a", on=machine({"AWS_ENDPOINT_URL_S3": "http://minio:9000"}))
    assert made.own_identity
    assert made.parameters == {
        "type": "s3",
        "provider": "Other",
        "env_auth": "false",
        "endpoint": "http://minio:9000",
    }


def test_a_remote_of_the_users_configuration() -> None:
    own = {"shelf": {"type": "s3", "provider": "Minio"}}
    made = remote("shelf:bucket/a", configuration=own)
    assert (made.kind, made.path, made.own_identity) == ("s3", "bucket/a", False)
    assert remote("shelf://bucket/a", configuration=own).same_way == made.same_way
    with pytest.raises(SourceError, match="no remote 'other' is in /home/me/"):
        remote("other:bucket/a", configuration=own)


@pytest.mark.parametrize(
    ("uri", "meant"),
    [
        ("s4://b/a", "s3://"),
        ("S3://b/a", "s3://"),
        ("s3a://b/a", "s3://"),
        ("gcs://b/a", "gs://"),
        ("azure://b/a", "azureblob://"),
        ("sft://h/a", "sftp://"),
        ("shelves:b/a", "shelf:"),
    ],
)
def test_what_may_have_been_meant(uri: str, meant: str) -> None:
    own = {"shelf": {"type": "s3"}}
    with pytest.raises(SourceError) as raised:
        remote(uri, configuration=own)
    assert f"(did you mean {meant}?); expected" in str(raised.value)
    with pytest.raises(SourceError) as raised:
        remote("nothing:b/a", configuration=own)
    assert "did you mean" not in str(raised.value)


def test_a_users_remote_that_reads_the_disk_is_refused() -> None:
    with pytest.raises(SourceError, match=r"'local' is not read"):
        remote("disk:/etc", configuration={"disk": {"type": "local"}})


def test_an_address_of_buckets_needs_one() -> None:
    with pytest.raises(SourceError, match="no bucket"):
        remote("s3://", secret())


def sftp_secret(**parameters: str) -> RemoteSecret:
    return secret("files", "sftp", parameters)


def test_sftp_has_its_host_from_the_address() -> None:
    made = remote("sftp://me@files.example:2222/srv/a", sftp_secret(key_pem="k"))
    assert made.path == "/srv/a"
    told = made.parameters
    assert (told["host"], told["user"], told["port"]) == ("files.example", "me", "2222")
    assert told["shell_type"] == "none"
    own = remote("sftp://files.example/srv/a").parameters
    assert own["known_hosts_file"] == "/home/me/.ssh/known_hosts"


def test_sftp_gives_a_secret_to_no_other_host() -> None:
    given = sftp_secret(host="files.example", user="me")
    assert remote("sftp://files.example/srv/a", given).path == "/srv/a"
    for uri in (
        "sftp://evil.example/srv/a",
        "sftp://you@files.example/a",
        "sftp://files.example:9/a",
    ):
        with pytest.raises(SourceError, match="another host, port or user"):
            remote(uri, given)


def test_a_remote_of_sftp_by_its_name_has_its_own_paths() -> None:
    own = {"box": {"type": "sftp", "host": "files.example"}}
    assert remote("box:models/a", configuration=own).path == "models/a"
    assert remote("box:/srv/a", configuration=own).path == "/srv/a"


def test_what_is_no_port() -> None:
    with pytest.raises(SourceError, match="'x' is no port"):
        remote("sftp://host:x/a")


@pytest.mark.parametrize(
    ("endpoint", "plain"),
    [
        ("", False),
        ("https://minio:9000", False),
        ("http://minio:9000", True),
        ("http://127.0.0.1:9000", False),
        ("http://[::1]:9000", False),
        ("http://localhost:9000", False),
    ],
)
def test_whose_bytes_can_be_changed_on_their_way(endpoint: str, plain: bool) -> None:
    assert remote("s3://b/a", secret(parameters={"endpoint": endpoint})).plain is plain
