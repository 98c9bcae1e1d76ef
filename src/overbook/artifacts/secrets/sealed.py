"""Seals bytes with a key that lies in a file of its own: AES-256-GCM, bound to a name. Blocking where it says file.

What is sealed and where it is kept is decided elsewhere. A key that others may read protects nothing, and is refused.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from overbook.artifacts.secrets.errors import SealError

KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
# Before the name, and before everything that is sealed: another way to seal would have others.
_CONTEXT: Final = b"overbook secret\0"
_FORM: Final = b"\x01"


def seal(key: bytes, name: str, plain: bytes) -> bytes:
    """The bytes, which only the same key and name open."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return _FORM + nonce + AESGCM(key).encrypt(nonce, plain, _CONTEXT + name.encode())


def unseal(key: bytes, name: str, sealed: bytes) -> bytes:
    """What was sealed under this name. Raises SealError."""
    nonce, content = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
    try:
        if sealed[:1] != _FORM:
            raise ValueError("of another form")
        return AESGCM(key).decrypt(nonce, content, _CONTEXT + name.encode())
    except (InvalidTag, ValueError):
        raise SealError("it was sealed with another key, or is damaged") from None


def read_key(path: Path) -> bytes | None:
    """The key in a file; None where there is none. Raises SealError for one that cannot be relied on."""
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            info = os.fstat(opened)
            # So short a read of a file is never cut.
            content = os.read(opened, KEY_BYTES + 1) if stat.S_ISREG(info.st_mode) else b""
        finally:
            os.close(opened)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SealError(
            f"key file {path} cannot be read ({error.strerror or error}); make it readable for this user alone"
        ) from None
    if not stat.S_ISREG(info.st_mode):
        raise SealError(f"key file {path} is no file; put the key back from a copy")
    if info.st_mode & 0o077:
        raise SealError(
            f"key file {path} may be read by others (mode {stat.S_IMODE(info.st_mode):04o}); "
            f"run `chmod 600 {path}`, and where somebody may have read it, set the secrets anew"
        )
    if len(content) != KEY_BYTES:
        size = "more" if len(content) > KEY_BYTES else str(len(content))
        raise SealError(
            f"key file {path} has {size} bytes, expected {KEY_BYTES}; put the key back from a copy"
        )
    return content


def make_key(path: Path) -> bytes:
    """A new key in a file that was not there: whole or not at all, and for this user alone. Raises SealError."""
    key = secrets.token_bytes(KEY_BYTES)
    half = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        opened = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(opened, "wb") as file:
                file.write(key)
                file.flush()
                os.fsync(opened)
            # Unlike a rename it never replaces a key that is there.
            os.link(half, path)
        finally:
            half.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise SealError(
            f"key file {path} cannot be made ({error.strerror or error}); "
            "check the disk's space and the folder's permissions"
        ) from None
    return key
