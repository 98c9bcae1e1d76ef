"""Which lines of a server's log concern a model, and what the scheduler is answered."""

from __future__ import annotations

from pathlib import Path

from overbook.agent.logs import Logs, concerning
from overbook.bounded_log import BoundedLog
from overbook.wire import scheduler_pb2 as pb

LOG = b"""printed before any record
2026-01-02 03:04:05,678 [mlserver] INFO - Loaded model 'iris' successfully.
2026-01-02 03:04:06,000 [mlserver] ERROR - POST /v2/models/wine/infer failed
Traceback (most recent call last):
  File "/models/wine/model.py", line 3, in predict
ValueError: no
2026-01-02 03:04:07,000 [mlserver] INFO - Loaded model 'iris-2' successfully.
I0102 03:04:08.123456 7 model_lifecycle.cc:839] "successfully loaded 'iris'"
INFO:     Application startup complete.
2026-01-02 03:04:09,000 [mlserver] INFO - Loaded my.iris and not iris.
"""
LINES = LOG.splitlines(keepends=True)


def test_records_that_name_a_model_with_what_follows_them() -> None:
    assert list(concerning(LINES, "wine")) == LINES[2:6]
    assert list(concerning(LINES, "iris")) == [LINES[1], LINES[7], LINES[9]]
    assert list(concerning(LINES, "iris-2")) == [LINES[6]]
    assert list(concerning(LINES, "rose")) == []
    assert list(concerning([], "iris")) == []


async def test_reading(tmp_path: Path) -> None:
    path = tmp_path / "server.log"
    path.write_bytes(LOG)
    logs = Logs(BoundedLog(path))
    last = await logs.read(pb.ReadLog(id=7, lines=2))
    assert (last.id, last.error, last.path) == (7, "", str(path))
    assert last.text == b"".join(LINES[-2:])
    assert (await logs.read(pb.ReadLog(lines=0))).text == b""
    of_iris = await logs.read(pb.ReadLog(lines=1, model="iris"))
    assert of_iris.text == LINES[9]
    assert (await logs.read(pb.ReadLog(lines=0, model="iris"))).text == b""
    with path.open("ab") as file:
        file.write(LINES[2] + LINES[1])
    more = await logs.read(pb.ReadLog(after=last.next))
    assert more.text == LINES[2] + LINES[1]
    assert (await logs.read(pb.ReadLog(after=of_iris.next, model="iris"))).text == LINES[1]


async def test_a_server_that_somebody_else_started() -> None:
    answer = await Logs(None).read(pb.ReadLog(id=7))
    assert answer.id == 7
    assert "started by somebody else" in answer.error
