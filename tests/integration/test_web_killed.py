"""A process that is killed in the middle of downloads, again and again: the next goes on with what it had."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Final

import pytest

from overbook.artifacts.sources.web.download import parts_of
from tests.integration.web_harness import content, found_in
from tests.stores.nginx import nginx

# Brings a folder, and says so when it is done.
_BRING: Final = """
import asyncio, sys
from pathlib import Path
from overbook.artifacts.sources.limits import FetchLimits
from overbook.artifacts.sources.protocol import Wanted
from overbook.artifacts.sources.web.download import Downloader
from overbook.artifacts.sources.web.http import HttpSource

async def main(url, into):
    downloader = Downloader(FetchLimits())
    source, wanted = HttpSource(downloader), Wanted(url)
    listing = await source.look(wanted, None)
    print("begins", flush=True)
    await source.bring(wanted, None, listing, Path(into), lambda more: None)
    await downloader.close()
    print("done", flush=True)

asyncio.run(main(*sys.argv[1:]))
"""
_SIZE: Final = 6_000_000
_CHUNK: Final = 1024 * 1024


@pytest.mark.slow
def test_killed_in_the_middle_of_downloads(tmp_path: Path) -> None:
    root, into = tmp_path / "root", tmp_path / "work" / "artifact"
    root.mkdir()
    files = {f"{number}.bin": content(_SIZE, number) for number in range(6)}
    for name, data in files.items():
        (root / name).write_bytes(data)
    kills = 0
    with nginx(tmp_path / "nginx", root) as server:
        while True:
            process = subprocess.Popen(
                [sys.executable, "-c", _BRING, server.url("slow/"), str(into)],
                stdout=subprocess.PIPE,
                text=True,
            )
            assert process.stdout is not None
            with process:
                assert process.stdout.readline() == "begins\n"
                try:
                    # At another moment each time, and later and later, so that it ends.
                    process.wait(0.4 + 0.07 * kills)
                except subprocess.TimeoutExpired:
                    process.kill()
                    kills += 1
                else:
                    assert process.stdout.readline() == "done\n"
                    break
            for name, data in found_in(into).items():
                assert data == files[name], "a file that is not whole lies where whole ones lie"
        time.sleep(0.2)  # the log is written when a request has ended
        sent = server.sent()
    assert found_in(into) == files
    assert kills >= 3
    # Of each connection that was cut only what was in memory or on the way: a chunk is filled in a quarter of a second.
    assert sent < len(files) * _SIZE + kills * 4 * 2 * _CHUNK
    assert [path.name for path in parts_of(into).iterdir()] == ["journal"]
