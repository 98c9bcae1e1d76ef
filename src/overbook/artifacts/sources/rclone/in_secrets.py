"""What of a remote's parameters a secret may not say. Pure.

Secrets come over the network. So they name no file and no program of this machine, and have its own identity shown to
nobody but the clouds whose it is. The user's own configuration of rclone lies on this machine, and may name files.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from overbook.artifacts.sources.rclone.sections import Unwritable

GCS: Final = ("google cloud storage", "gcs")
# What to say instead of naming a file of this machine, or who is logged in there.
_INSTEAD: Final = {
    "shared_credentials_file": "access_key_id and secret_access_key",
    "profile": "access_key_id and secret_access_key",
    "service_account_file": "service_account_credentials",
    "client_certificate_path": "client_secret",
    "service_principal_file": "tenant, client_id and client_secret",
    "key_file": "key_pem",
    "pubkey_file": "pubkey",
    "key_use_agent": "key_pem",
    "known_hosts_file": "host_keys",
    "box_config_file": "token",
    "bearer_token_command": "bearer_token",
    "kerberos_ccache": "user and pass",
    "use_kerberos": "user and pass",
    "use_az": "client_secret, or env_auth: true",
    "unix_socket": "url",
}
# So are called those of rclone's that nobody has looked at yet.
_FILES: Final = re.compile(
    r"(?:.*_)?(?:file|path|dir|directory|socket|command|cmd|program|profile|ccache)"
)
# They read the files of whoever is logged in, whatever their parameters say, or keep some.
_TYPES: Final = {
    "hdfs": "another store",
    "iclouddrive": "another store",
    "oracleobjectstorage": "type s3, with the endpoint of its S3 API",
}
_MACHINE: Final = ("env_auth", "use_msi")
_NO: Final = frozenset({"", "false", "f", "0", "no", "off"})
# A name of Azure's goes into the name of a host.
_ACCOUNT: Final = re.compile(r"[a-z0-9-]*")
_OF_GCS: Final = ("service_account_credentials", "access_token", "anonymous", "env_auth", "token")


def refuse_local(kind: str, parameters: Mapping[str, str]) -> None:
    """``kind``: the remote's type. Raises Unwritable, which says the key and what to use instead of it."""
    if kind in _TYPES:
        raise Unwritable(
            f"its type {kind} reads files of this machine, which no secret may; expected {_TYPES[kind]}"
        )
    for key, value in parameters.items():
        if key == "known_hosts_file" and value.strip() in ("", "none"):
            continue  # whoever answers is trusted: that reads nothing
        if (key in _INSTEAD or _FILES.fullmatch(key)) and _said(value):
            instead = _INSTEAD.get(key, "what is in it, or another way to come in")
            raise Unwritable(
                f"its {key} would have this machine's own files, programs or logins used, which no secret may; "
                f"expected {instead}"
            )
    _refuse_identity(kind, parameters)


def means_machine(parameters: Mapping[str, str]) -> bool:
    """Whether a secret wants the machine's own identity."""
    return any(_said(parameters.get(key, "")) for key in _MACHINE)


def _refuse_identity(kind: str, parameters: Mapping[str, str]) -> None:
    asked = next((key for key in _MACHINE if _said(parameters.get(key, ""))), "")
    if asked and kind not in ("s3", "azureblob", *GCS):
        raise Unwritable(
            f"its {asked} would show this machine's identity to a server that the secret names; expected credentials"
        )
    # S3 signs what it asks; the others send a token, which is good for whoever gets it.
    elsewhere = "endpoint" if _said(parameters.get("endpoint", "")) else ""
    if kind == "azureblob" and not _ACCOUNT.fullmatch(parameters.get("account", "")):
        raise Unwritable("its account is no name of an account; expected small letters and digits")
    if asked and kind != "s3" and elsewhere:
        raise Unwritable(
            f"its {asked} would send this machine's token to its {elsewhere}; expected only one of the two"
        )
    if kind in GCS:
        # With none of them, or with a token that is none, rclone takes this machine's.
        given = [key for key in _OF_GCS if _said(parameters.get(key, ""))]
        if not given or (elsewhere and given == ["token"]):
            raise Unwritable(
                "it has nothing to come in by; expected service_account_credentials, access_token, anonymous: true, or "
                "env_auth: true"
            )


def _said(value: str) -> bool:
    return value.strip().lower() not in _NO
