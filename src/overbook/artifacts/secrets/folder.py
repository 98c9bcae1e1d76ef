"""Secrets in a folder, a file or a folder for each, as Kubernetes mounts them. Blocking.

Read whenever one is asked for: who exchanges a file need tell nobody. Files may be readable by others, as mounted
Secrets are: whose they are is the business of whoever put them there.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from overbook.artifacts.secrets.errors import SecretError
from overbook.artifacts.secrets.parsing import MOST_BYTES, parse_secret
from overbook.artifacts.secrets.remote import RemoteSecret
from overbook.manifests.names import is_kubernetes_name
from overbook.manifests.problems import shown

_NAMED: Final = 5


class SecretFolder:
    """``root``: holds a file NAME, or a folder NAME with one file in it, for each secret."""

    def __init__(self, root: Path) -> None:
        self.root: Final = root
        # By name, with the bytes that it was read from: many models may name one secret at the same time.
        self._known: dict[str, tuple[bytes, RemoteSecret]] = {}

    def find(self, name: str) -> RemoteSecret | None:
        """None where there is none of this name. Raises SecretError."""
        if not is_kubernetes_name(name):
            return None  # it might lead out of the folder
        path = self.root / name
        try:
            if path.is_dir():
                path = self._only_key(name, path)
            content = _content(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise SecretError(
                f"secret {name!r}: {path} cannot be read ({error.strerror or error}); "
                "expected a file that this user may read"
            ) from None
        if content is None:
            raise SecretError(f"secret {name!r}: {path} is no file; expected JSON or YAML in one")
        before = self._known.pop(name, None)
        if before is None or before[0] != content:
            before = (content, parse_secret(name, self._text(name, path, content)))
        self._known[name] = before
        return before[1]

    def names(self) -> list[str]:
        """What there may be secrets of, without a look into them; none where nobody can look."""
        try:
            return [each for each in os.listdir(self.root) if is_kubernetes_name(each)]
        except OSError:
            return []

    @staticmethod
    def _text(name: str, path: Path, content: bytes) -> str:
        try:
            return content.decode()
        except UnicodeDecodeError:
            raise SecretError(f"secret {name!r}: {path} is no text; expected UTF-8") from None

    def _only_key(self, name: str, folder: Path) -> Path:
        """What begins with a dot is Kubernetes' own, or nobody's."""
        keys = sorted(each for each in os.listdir(folder) if not each.startswith("."))
        if len(keys) != 1:
            listed = ", ".join(shown(each) for each in keys[:_NAMED])
            more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
            has = f"has {len(keys)} keys ({listed}{more})" if keys else "has no key"
            raise SecretError(
                f"secret {name!r}: {folder} {has}; expected one, with the remote in it"
            )
        return folder / keys[0]


def _content(path: Path) -> bytes | None:
    """No more than can be a secret; None for what is no regular file, which is not waited for."""
    opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(opened).st_mode):
            return None
        with os.fdopen(opened, "rb", closefd=False) as file:
            return file.read(MOST_BYTES + 1)
    finally:
        os.close(opened)
