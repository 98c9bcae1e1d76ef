"""What in a secret is probably mistyped: nearly a kind of store, or a parameter, that docs/secrets.md has. Pure.

Nothing is refused here. Rclone has many more kinds and parameters, and passes over those that it does not know: a key
under a mistyped name is no key, and who comes without one is let in nowhere, or is somebody else.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Final

from overbook.artifacts.secrets.remote import RemoteSecret

_GCS: Final = "google cloud storage"
# By the kinds of stores that docs/secrets.md describes: what it says their parameters are.
PARAMETERS: Final = {
    "s3": (
        *("provider", "access_key_id", "secret_access_key", "session_token", "region", "endpoint"),
        *("force_path_style", "env_auth"),
    ),
    _GCS: (*("service_account_credentials", "env_auth", "anonymous", "endpoint"),),
    "azureblob": (
        *("account", "key", "sas_url", "tenant", "client_id", "client_secret", "env_auth"),
        "endpoint",
    ),
    "sftp": ("host", "user", "port", "key_pem", "pass", "host_keys", "known_hosts_file"),
    "http": ("user", "pass", "token", "headers", "url"),
    "hf": ("token", "endpoint"),
    "oci": ("username", "password", "token", "insecure"),
    "mlflow": ("tracking_uri", "username", "password", "token"),
}
# What people call them who know the store and not rclone's word for it.
_CALLED: Final = {
    **dict.fromkeys(("aws", "amazon", "minio", "ceph"), "s3"),
    **dict.fromkeys(("gs", "google", "google cloud", "googlecloudstorage"), _GCS),
    **dict.fromkeys(("az", "azure", "azure blob", "blob"), "azureblob"),
    "ssh": "sftp",
    "https": "http",
    **dict.fromkeys(("hub", "huggingface", "hugging face"), "hf"),
    **dict.fromkeys(("docker", "registry", "container registry"), "oci"),
}
_KEYS_CALLED: Final = {
    "access_key": "access_key_id",
    "secret_key": "secret_access_key",
    "endpoint_url": "endpoint",
    "account_name": "account",
    "account_key": "key",
    "username": "user",
    "password": "pass",
    "user": "username",
    "pass": "password",
}
# How alike two words are, from 0 to 1. No word of rclone's own is so near to one of those above.
_NEAR_TYPE: Final = 0.9
_NEAR: Final = 0.85


def advice(remote: RemoteSecret) -> list[str]:
    """A line for each word that is nearly one of the known ones. Values are in none of them."""
    named = f"secret {remote.secret!r}"
    known = PARAMETERS.get(remote.type)
    if known is None:
        meant = meant_type(remote.type)
        return [f"{named}: type: did you mean {meant}? It is kept as it is"] if meant else []
    return [
        f"{named}: parameters.{key}: did you mean {meant}? It is kept as it is, and may have no effect"
        for key in sorted(remote.parameters.keys() - set(known))
        if (meant := _meant_key(key.lower(), known))
    ]


def meant_type(given: str) -> str:
    """The kind of store that was probably meant by a word for none; "" where nothing is near."""
    word = given.strip().lower().replace("_", " ").replace("-", " ")
    if word in PARAMETERS:
        return word
    if called := _CALLED.get(word):
        return called
    return "".join(difflib.get_close_matches(word, PARAMETERS, n=1, cutoff=_NEAR_TYPE))


def _meant_key(key: str, known: Sequence[str]) -> str:
    called = _KEYS_CALLED.get(key, "")
    if called in known:
        return called
    return "".join(difflib.get_close_matches(key, known, n=1, cutoff=_NEAR))
