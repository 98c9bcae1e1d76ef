"""Requests that schemathesis makes of the control API's own description."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# Names that there are, so that more is met than 404; and what a secret may be called, OpenAPI leaves to rclone.
KNOWN: Final = """
[[operations]]
include-path-regex = "^/api/v1/models/"
include-method = ["GET", "POST"]
parameters = { "path.name" = "iris" }

[[operations]]
include-path-regex = "^/api/v1/servers/"
include-method = "GET"
parameters = { "path.name" = "mlserver", "path.replica" = 0 }

[[operations]]
include-path = "/api/v1/secrets/{name}"
include-method = "PUT"
checks.positive_data_acceptance.enabled = false
"""


@dataclass(frozen=True, slots=True)
class Generated:
    """A request as it was sent, and its status. ``headers``: without those of the connection."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    status: int


async def schemathesis(url: str, folder: Path, configuration: str, *options: str) -> str:
    """Sends its requests to the API at ``url``, the same in every run. What is wrong with the answers; "": nothing."""
    (folder / "schemathesis.toml").write_text(configuration)
    process = await asyncio.create_subprocess_exec(
        *(str(Path(sys.executable).parent / "schemathesis"), "run", f"{url}/openapi.json"),
        *("--phases", "coverage,fuzzing", "--generation-deterministic", "--no-color"),
        *("--request-timeout", "60", *options),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return "" if process.returncode == 0 else out.decode()[-6000:] or "no word"


def recorded(har: Path) -> Iterator[Generated]:
    """What a run with ``--report har`` has sent."""
    for entry in json.loads(har.read_text(encoding="utf-8"))["log"]["entries"]:
        request = entry["request"]
        posted = request.get("postData", {})
        text = posted.get("text", "")
        yield Generated(
            request["method"],
            request["url"],
            tuple(
                (each["name"], each["value"])
                for each in request["headers"]
                if each["name"].lower() in ("content-type", "accept")
            ),
            base64.b64decode(text) if posted.get("encoding") == "base64" else text.encode(),
            entry["response"]["status"],
        )
