"""What a secret may not say: files, programs and logins of this machine, in any type of rclone's."""

from __future__ import annotations

import json
import re
import subprocess

import pytest

from overbook.artifacts.errors import SourceError, Trouble
from overbook.artifacts.sources.rclone.in_secrets import refuse_local
from overbook.artifacts.sources.rclone.own_configuration import REFUSED
from overbook.artifacts.sources.rclone.program import found
from overbook.artifacts.sources.rclone.sections import Unwritable, section

from .made import machine, remote, secret

GCS = "google cloud storage"
# Of rclone's options, those that sound as if they named something of this machine, and do not.
HARMLESS = {
    *("adjust_media_files_extensions", "file_password", "key_file_pass", "original_file_size"),
    *("path_override", "disable_hashcheck", "client_certificate_password", "one_file_system"),
    *("client_send_certificate_chain", "directory_markers", "directory_bucket", "shared_files"),
    *("speedup_file_patterns", "expose_onenote_files", "force_path_style", "tenant", "versions"),
    *("tls_cache_size", "cloud_name", "concurrency", "host_keys"),
}
SOUNDS = re.compile(
    r"file|path|command|cmd|_dir|directory|socket|profile|program|ssh|use_agent|kerberos|ccache|use_az|env"
)


@pytest.mark.parametrize(
    ("kind", "key", "instead"),
    [
        ("s3", "shared_credentials_file", "access_key_id and secret_access_key"),
        ("s3", "profile", "access_key_id and secret_access_key"),
        (GCS, "service_account_file", "service_account_credentials"),
        ("drive", "service_account_file", "service_account_credentials"),
        ("azureblob", "client_certificate_path", "client_secret"),
        ("azureblob", "service_principal_file", "tenant, client_id and client_secret"),
        ("azureblob", "use_az", "client_secret"),
        ("sftp", "key_file", "key_pem"),
        ("sftp", "pubkey_file", "pubkey"),
        ("sftp", "key_use_agent", "key_pem"),
        ("sftp", "known_hosts_file", "host_keys"),
        ("smb", "kerberos_ccache", "user and pass"),
        ("webdav", "unix_socket", "url"),
        ("webdav", "bearer_token_command", "bearer_token"),
        ("box", "box_config_file", "token"),
        ("new", "some_new_path", "what is in it"),
    ],
)
def test_a_file_or_program_of_this_machine(kind: str, key: str, instead: str) -> None:
    with pytest.raises(Unwritable) as raised:
        refuse_local(kind, {key: "/etc/passwd"})
    assert f"its {key} would" in str(raised.value)
    assert f"expected {instead}" in str(raised.value)
    assert "/etc/passwd" not in str(raised.value)


def test_it_is_told_with_the_secret_and_the_address() -> None:
    given = secret(parameters={"env_auth": "true", "profile": "evil"})
    with pytest.raises(SourceError, match=r"'s3://b/a': secret 'minio': its profile") as raised:
        remote("s3://b/a", given)
    assert raised.value.trouble is Trouble.BAD_SECRET


def test_in_the_users_own_configuration_files_stay_allowed() -> None:
    own = {"box": {"type": "sftp", "host": "files.example", "key_file": "/home/me/.ssh/box"}}
    assert remote("box:a", configuration=own).parameters["key_file"] == "/home/me/.ssh/box"
    own = {"aws": {"type": "s3", "env_auth": "true", "profile": "models"}}
    assert remote("aws:b/a", configuration=own).parameters["profile"] == "models"


@pytest.mark.parametrize("value", ["", "none", " "])
def test_to_trust_whoever_answers_names_no_file(value: str) -> None:
    refuse_local("sftp", {"known_hosts_file": value, "pass": "x"})


def test_host_keys_stand_for_known_hosts() -> None:
    pinned = secret("sftp", "sftp", {"host": "files.example", "host_keys": "ssh-ed25519 AAAA"})
    assert "known_hosts_file" not in remote("sftp://files.example/a", pinned).parameters


@pytest.mark.parametrize(
    ("kind", "parameters", "why"),
    [
        ("swift", {"env_auth": "true", "auth": "http://evil"}, "show this machine's identity"),
        ("drive", {"env_auth": "true"}, "show this machine's identity"),
        ("azurefiles", {"use_msi": "true"}, "show this machine's identity"),
        ("azureblob", {"env_auth": "true", "endpoint": "http://evil"}, "this machine's token"),
        ("azureblob", {"use_msi": "1", "endpoint": "http://evil"}, "this machine's token"),
        ("azureblob", {"env_auth": "true", "account": "evil.example/"}, "no name of an account"),
        (GCS, {"env_auth": "true", "endpoint": "http://evil"}, "this machine's token"),
        # Without anything, or with a token that is none, rclone looks for this machine's.
        (GCS, {"endpoint": "http://evil"}, "nothing to come in by"),
        (GCS, {"endpoint": "http://evil", "token": "no"}, "nothing to come in by"),
        (GCS, {}, "nothing to come in by"),
        ("hdfs", {"namenode": "evil:1"}, "reads files of this machine"),
        ("oracleobjectstorage", {}, "expected type s3"),
    ],
)
def test_this_machines_identity_is_for_its_clouds_alone(
    kind: str, parameters: dict[str, str], why: str
) -> None:
    with pytest.raises(Unwritable, match=why):
        refuse_local(kind, parameters)


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("s3", {"env_auth": "true", "endpoint": "http://minio:9000"}),
        ("azureblob", {"env_auth": "true", "account": "models"}),
        ("azureblob", {"account": "models", "key": "x", "endpoint": "http://azurite"}),
        (GCS, {"env_auth": "true"}),
        (GCS, {"anonymous": "true", "endpoint": "http://fake"}),
        (GCS, {"service_account_credentials": "{}", "endpoint": "http://fake"}),
        ("swift", {"env_auth": "false", "user": "u", "key": "k", "auth": "https://keystone"}),
        ("webdav", {"url": "https://dav", "user": "u", "pass": "p"}),
    ],
)
def test_what_secrets_are_for(kind: str, parameters: dict[str, str]) -> None:
    refuse_local(kind, parameters)


def test_a_secret_has_no_login_of_this_machine() -> None:
    on = machine({"SSH_AUTH_SOCK": "/a", "OS_PASSWORD": "b", "KRB5CCNAME": "c", "PATH": "/bin"})
    given = secret("sftp", "sftp", {"pass": "x"})
    assert remote("sftp://h/a", given, on).environment == (
        ("AWS_EC2_METADATA_DISABLED", "true"),
        ("PATH", "/bin"),
    )
    assert ("SSH_AUTH_SOCK", "/a") in remote("sftp://h/a", on=on).environment


def test_all_that_rclone_can_be_told_was_looked_at() -> None:
    """Of the version that is installed: what sounds like a file or a program is refused, or known to be none."""
    told = subprocess.run([found(), "config", "providers"], capture_output=True, check=True)
    missed = []
    for backend in json.loads(told.stdout):
        kind = backend["Name"]
        for option in backend["Options"]:
            name, first = option["Name"], option["Help"].partition("\n")[0].lower()
            suspect = SOUNDS.search(name) or re.search(
                r"\bpath to\b|\bcommand to\b|file path", first
            )
            if kind in REFUSED or name in HARMLESS or not suspect:
                continue
            value = "no" if option["Type"] == "int" else "/x"
            try:
                section("source", kind, {name: value})
                refuse_local(kind, {name: value, "anonymous": "true"})
            except Unwritable:
                continue
            if name != "env_auth":
                missed.append(f"{kind}: {name}")
    assert missed == []
