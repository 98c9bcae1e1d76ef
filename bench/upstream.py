"""An upstream that costs next to nothing: nginx, answering every inference with the same small JSON."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bench.errors import BenchFailed
from bench.processes import child, free_ports, listens, wait_until

_CONFIG: Final = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  # Connections last as long as the other side wants them.
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location /v2/models/ {{
      default_type application/json;
      return 200 '{answer}';
    }}
  }}
}}
"""
_ANSWER: Final = (
    '{"model_name":"m","outputs":[{"name":"predict","shape":[1,1],"datatype":"INT64","data":[1]}]}'
)


@contextlib.contextmanager
def running_upstream(folder: Path) -> Iterator[int]:
    """The port it listens on. Raises BenchFailed when nginx is missing or does not start."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
    if program is None:
        raise BenchFailed("nginx: not installed; run `make bench`, or install nginx-light")
    folder.mkdir(parents=True)
    (port,) = free_ports(1)
    config = folder / "nginx.conf"
    config.write_text(_CONFIG.format(folder=folder, port=port, answer=_ANSWER))
    with child([program, "-p", str(folder), "-c", str(config)], folder / "nginx.log"):
        wait_until("nginx listens", lambda: listens(port), seconds=10)
        yield port
