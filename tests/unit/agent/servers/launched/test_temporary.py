"""A folder for temporary files that goes with the server's process."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest

from overbook.agent.servers.launched.process import ProcessSpec, ServerProcess
from overbook.agent.servers.launched.temporary import made_temporary, remove_temporary
from overbook.agent.servers.protocol import ServerStartFailed


def test_it_is_private_and_empty(tmp_path: Path) -> None:
    place = Path(made_temporary(tmp_path)["TMPDIR"])
    assert place.stat().st_mode & 0o777 == 0o700
    (place / "left").touch()
    again = made_temporary(tmp_path)
    assert again["TMPDIR"] == again["TMP"] == again["TEMP"] == str(place)
    assert list(place.iterdir()) == []
    remove_temporary(tmp_path)
    assert not place.exists()


def test_one_that_cannot_be_had_is_named(tmp_path: Path) -> None:
    place = Path(made_temporary(tmp_path)["TMPDIR"])
    remove_temporary(tmp_path)
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(tmp_path)
    with pytest.raises(ServerStartFailed, match=f"cannot make {place} for temporary files"):
        made_temporary(tmp_path)
    place.unlink()


def test_a_process_has_it_while_it_lives(tmp_path: Path) -> None:
    script = "import tempfile; print(tempfile.mkdtemp()); open('made', 'w')"
    spec = ProcessSpec(
        command=(sys.executable, "-c", script),
        environment=dict(os.environ),
        folder=tmp_path / "work",
        log=tmp_path / "log",
        record=tmp_path / "record",
    )

    async def run() -> int:
        process = ServerProcess(spec)
        await process.start()
        return await process.wait_exit()

    assert asyncio.run(run()) == 0
    place = Path(spec.log.read_text().strip())
    expected = Path(made_temporary(spec.folder)["TMPDIR"])
    assert place.parent == expected
    assert not place.exists()
    remove_temporary(spec.folder)
    assert (spec.folder / "made").stat().st_mode & 0o777 == 0o600
