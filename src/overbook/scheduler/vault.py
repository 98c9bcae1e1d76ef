"""Seals secrets for the store, and opens them again, by a key file in the scheduler's own folder. Blocking.

What is opened is kept in memory and given to agents, and to nobody else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from overbook.artifacts.secrets.errors import SealError, SecretError
from overbook.artifacts.secrets.parsing import parse_secret
from overbook.artifacts.secrets.remote import RemoteSecret
from overbook.artifacts.secrets.sealed import make_key, read_key, seal, unseal
from overbook.scheduler.errors import Conflict
from overbook.scheduler.records import StoredSecret
from overbook.scheduler.store import SecretRow


class Vault:
    """``path``: of the key, which is made when the first secret is sealed."""

    def __init__(self, path: Path) -> None:
        self._path: Final = path

    def sealed(self, remote: RemoteSecret, now: float, *, first: bool) -> StoredSecret:
        """The secret as it is to be stored. ``first``: nothing else is sealed, so there may be a new key.

        Raises Conflict when there is no key to seal it with.
        """
        inner = {"name": remote.name, "type": remote.type, "parameters": dict(remote.parameters)}
        try:
            key = read_key(self._path)
            if key is None and not first:
                raise SealError(_missing(self._path))
            key = make_key(self._path) if key is None else key
        except SealError as error:
            raise Conflict(f"secret {remote.secret!r} cannot be stored: {error}") from None
        return StoredSecret(seal(key, remote.secret, json.dumps(inner).encode()), now, remote)

    def opened(self, rows: Iterable[SecretRow]) -> dict[str, StoredSecret]:
        """All of them, those that cannot be opened included."""
        found = list(rows)
        if not found:
            return {}
        try:
            key, trouble = read_key(self._path), _missing(self._path)
        except SealError as error:
            key, trouble = None, str(error)
        return {each.name: _opened(key, each, trouble) for each in found}


def _opened(key: bytes | None, row: SecretRow, trouble: str) -> StoredSecret:
    if key is None:
        return StoredSecret(row.sealed, row.updated, None, trouble)
    try:
        plain = unseal(key, row.name, row.sealed).decode()
        return StoredSecret(row.sealed, row.updated, parse_secret(row.name, plain))
    except (SealError, SecretError, UnicodeDecodeError) as error:
        said = error if isinstance(error, SealError | SecretError) else "it is damaged"
        told = f"{said}; set it anew, or put the right key back and restart"
        return StoredSecret(row.sealed, row.updated, None, told)


def _missing(path: Path) -> str:
    return (
        f"key file {path} is missing; put it back from a copy and restart, or delete the secrets that were sealed "
        "with it and set them anew"
    )
