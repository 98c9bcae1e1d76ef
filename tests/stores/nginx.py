"""A real web server: nginx, which gives out the files of a folder and lists it on pages.

``/`` is the folder; ``/limited/`` the same, for one request at a time and 429 for others; ``/private/`` the same, for
who sends the header `PRIVATE`; ``/slow/`` the same, at 4 MB a second for each connection. What was asked is in its log.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.stores.certificates import Certificate
from tests.stores.processes import HOST, free_port, running

PRIVATE: Final = {"X-Key": "rose-hips-and-thistles"}

_CONFIGURATION: Final = """
{user}
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  types {{ text/html html; }}
  default_type application/octet-stream;
  sendfile on;
  log_format asked '$request_method $request_uri $status $body_bytes_sent $http_range';
  access_log {folder}/access.log asked;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  scgi_temp_path {folder}/scgi;
  uwsgi_temp_path {folder}/uwsgi;
  limit_req_zone $server_port zone=few:1m rate=20r/s;
  limit_req_status 429;
  server {{
    listen {host}:{port};
    {locations}
  }}
  {more}
}}
"""
_LOCATIONS: Final = """
    autoindex on;
    location / {{ root {root}; }}
    location /limited/ {{ alias {root}/; limit_req zone=few; }}
    location /slow/ {{ alias {root}/; limit_rate 4m; }}
    location /private/ {{
      if ($http_x_key != "{key}") {{ return 403; }}
      alias {root}/;
    }}
"""
_TLS: Final = """
  server {{
    listen {host}:{port} ssl;
    ssl_certificate {certificate};
    ssl_certificate_key {key};
    {locations}
  }}
"""


@dataclass(frozen=True, slots=True)
class Nginx:
    """``root``: the folder that it gives out. ``tls``: ports by the name of their certificate."""

    port: int
    root: Path
    log: Path
    tls: Mapping[str, int]

    def url(self, path: str) -> str:
        return f"http://{HOST}:{self.port}/{path}"

    def requests(self) -> list[str]:
        """Method and path of each that has ended."""
        return [" ".join(line.split()[:2]) for line in self.log.read_text().splitlines()]

    def statuses(self) -> list[int]:
        return [int(line.split()[2]) for line in self.log.read_text().splitlines()]

    def sent(self) -> int:
        """Bytes of all bodies so far."""
        return sum(int(line.split()[3]) for line in self.log.read_text().splitlines())


@contextlib.contextmanager
def nginx(
    folder: Path, root: Path, certificates: Mapping[str, Certificate] | None = None
) -> Iterator[Nginx]:
    """``folder``: for its own files."""
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    if not os.access(program, os.X_OK):
        pytest.skip("nginx is not installed: scripts/system-packages.sh nginx-light")
    folder.mkdir(exist_ok=True)
    port = free_port()
    tls = {name: free_port() for name in certificates or {}}
    locations = _LOCATIONS.format(root=root, key=PRIVATE["X-Key"])
    more = "".join(
        _TLS.format(
            host=HOST,
            port=tls[name],
            certificate=each.certificate,
            key=each.key,
            locations=locations,
        )
        for name, each in (certificates or {}).items()
    )
    configuration = folder / "nginx.conf"
    configuration.write_text(
        _CONFIGURATION.format(
            # Else its workers may not read what only we may.
            user="user root;" if os.geteuid() == 0 else "",
            folder=folder,
            host=HOST,
            port=port,
            locations=locations,
            more=more,
        )
    )
    command: list[str | Path] = [program, "-c", configuration, "-p", folder]
    with running(command, port, folder / "said.log"):
        yield Nginx(port, root, folder / "access.log", tls)
