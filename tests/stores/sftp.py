"""A real SFTP server, by asyncssh: one user, who comes in by a password or a key, and sees one folder."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.stores.processes import HOST, RCLONE, STORES, environment, free_port, running
from tests.stores.proxy import Proxy, proxy

USER: Final = "keeper"
PASSWORD: Final = "swordfish-in-a-teapot"
_SERVER: Final = """
import asyncio, asyncssh, json, sys
given = json.load(open(sys.argv[1]))

class Server(asyncssh.SSHServer):
    def password_auth_supported(self):
        return True
    def validate_password(self, user, password):
        return (user, password) == (given["user"], given["password"])

def files(channel):
    return asyncssh.SFTPServer(channel, chroot=given["folder"].encode())

async def main():
    host_key = asyncssh.read_private_key(given["host_key"])
    await asyncssh.listen("127.0.0.1", given["port"], server_factory=Server, server_host_keys=[host_key],
                          authorized_client_keys=given["authorized"], sftp_factory=files, allow_scp=False)
    await asyncio.Event().wait()

asyncio.run(main())
"""
_KEYS: Final = """
import asyncssh, sys
for name in ("host", "client"):
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(f"{sys.argv[1]}/{name}_key")
    key.write_public_key(f"{sys.argv[1]}/{name}_key.pub")
"""


@dataclass(frozen=True, slots=True)
class SftpStore:
    """``folder``: what its user sees. ``keys``: ``client_key`` comes in, ``host_key.pub`` is the server's."""

    port: int
    front: Proxy
    folder: Path
    keys: Path

    @property
    def address(self) -> str:
        return f"sftp://{USER}@{HOST}:{self.front.port}"

    @property
    def known_hosts(self) -> str:
        """The line by which a client knows the server."""
        return f"[{HOST}]:{self.front.port} {(self.keys / 'host_key.pub').read_text().strip()}\n"

    def put(self, path: str, content: bytes) -> None:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def obscured(password: str) -> str:
    """As rclone has passwords in its configuration."""
    command = [str(RCLONE), "obscure", "-"]
    done = subprocess.run(command, input=password, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@contextlib.contextmanager
def sftp(folder: Path) -> Iterator[SftpStore]:
    """``folder``: gets a folder ``files`` and one with keys."""
    files, keys, port = folder / "files", folder / "keys", free_port()
    files.mkdir(parents=True)
    keys.mkdir()
    subprocess.run([STORES / "python", "-c", _KEYS, keys], check=True, env=environment())
    given = {
        "user": USER,
        "password": PASSWORD,
        "folder": str(files),
        "port": port,
        "host_key": str(keys / "host_key"),
        "authorized": str(keys / "client_key.pub"),
    }
    # Not by the command line: a password is in it.
    (keys / "given.json").write_text(json.dumps(given))
    command: list[str | Path] = [STORES / "python", "-c", _SERVER, keys / "given.json"]
    with running(command, port, folder / "sftp.log"), proxy(port) as front:
        yield SftpStore(port, front, files, keys)
