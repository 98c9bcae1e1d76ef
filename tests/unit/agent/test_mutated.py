"""Whatever files there are, a model is prepared or has failed alone: from an assignment to its report, as in an agent.

Thousands of artifacts with something wrong with them, of every supported format, and nothing is loaded. A failure that
is found here is made again by its seed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from overbook.agent.assembly import AgentLimits, AgentPorts, assemble
from overbook.agent.clock import Clock
from overbook.agent.fetches import Looks
from overbook.agent.guesses import Guess
from overbook.agent.kinds import kind_of
from overbook.agent.looking import MOST_TOLD
from overbook.agent.memory.gpu import NoGpus
from overbook.agent.memory.history import History
from overbook.agent.memory.probe import TreeProbe
from overbook.agent.memory.store import SizeStore
from overbook.agent.notices import Notices
from overbook.agent.operations import OperationLimits
from overbook.agent.proven import Proven
from overbook.agent.servers.factory import callees, sequence_idle
from overbook.agent.servers.mlserver.server import MlserverConfig, MlserverServer
from overbook.agent.servers.mlserver.settings import server_settings
from overbook.agent.servers.protocol import InferenceServer
from overbook.agent.servers.triton import config as triton_config
from overbook.agent.servers.triton.server import TritonConfig, TritonServer
from overbook.agent.supervisor import RestartLimits
from overbook.artifacts.address import Asked
from overbook.artifacts.cache import Artifact
from overbook.artifacts.made_for import made_for_in
from overbook.residency.events import ModelName
from overbook.residency.replica import Limits
from overbook.wire import scheduler_pb2 as pb
from tests.unit.agent.mutations import (
    CONFIG,
    LINEAR,
    SETTINGS,
    Seedling,
    seedlings,
    written,
)
from tests.unit.agent.servers.triton.artifacts import ALL
from tests.unit.agent.world import MB, FakeCache

# Seconds of the processor for one look at an artifact, and of waiting for its end.
SLOWEST: Final = 5.0
PATIENCE: Final = 30.0
NAME: Final = "iris"


class InPlace(FakeCache):
    """A cache that copies nothing: the artifact is where it was made."""

    async def fetch(self, asked: Asked) -> Artifact:
        return Artifact(Path(asked.storage_uri), asked.fingerprint, 1)


class Looker:
    """An agent that only looks: real assignments over a real adapter whose server was never started."""

    def __init__(self, server: InferenceServer) -> None:
        self.server = server
        self.notices = Notices("mutated", 0, Clock())
        nowhere = Path(":memory:")
        probe = TreeProbe(lambda: None)
        self.agent = assemble(
            AgentPorts(
                server=server,
                spare=None,
                cache=InPlace(),
                looks=Looks(
                    kind=lambda folder: asyncio.to_thread(kind_of, folder),
                    sequence_idle=lambda folder: asyncio.to_thread(sequence_idle, folder),
                    made_for=lambda folder: asyncio.to_thread(made_for_in, folder),
                    callees=lambda folder: asyncio.to_thread(callees, folder),
                ),
                probe=probe,
                members=lambda: probe.members,
                gpus=NoGpus(),
                room=lambda: None,
                store=SizeStore(nowhere, "mutated"),
                guess=Guess(),
                history=History(nowhere),
                proven=Proven(nowhere),
                notices=self.notices,
                clock=Clock(),
            ),
            AgentLimits(MB, Limits(), OperationLimits(), RestartLimits()),
        )
        self.assignments = self.agent.assignments
        self.reporter = self.agent.reporter
        self.fingerprint = 0

    async def look(self, folder: Path, requirements: tuple[str, ...]) -> pb.ModelReport:
        """What the scheduler is told of an artifact, once that is settled."""
        self.fingerprint += 1
        spec = pb.AssignedModel(
            name=NAME,
            generation=1,
            storage_uri=str(folder),
            fingerprint=str(self.fingerprint),
            requirements=requirements,
            memory_bytes=1000,
            take_unverified=True,  # nothing is loaded here
        )
        self.assignments.update(pb.AssignmentUpdate(assigned=[spec]))
        assignment = self.assignments.assigned[NAME]
        async with asyncio.timeout(PATIENCE):
            while not (assignment.registered or assignment.failure):
                assignment.changed.clear()
                await assignment.changed.wait()
        report = self.reporter.model(NAME)
        assert report is not None
        report.SerializeToString()
        for event in self.notices.events:
            event.SerializeToString()
        self.notices.events.clear()
        return report

    async def use(self) -> None:
        """What is done with files that were found to be good, without loading them: it must go well now."""
        prepared = self.assignments.assigned[NAME].content
        assert prepared is not None
        model = prepared.prepared
        json.dumps(await self.server.static_metadata(model))
        if isinstance(self.server, MlserverServer):
            json.dumps(server_settings(model)).encode()
        else:
            triton_config.describe(model, ALL).SerializeToString()

    def leave(self) -> None:
        self.assignments.update(pb.AssignmentUpdate(revoked=[NAME]))


@contextlib.asynccontextmanager
async def looker(runtime: str, state: Path) -> AsyncIterator[Looker]:
    server: InferenceServer
    python = Path(sys.executable)
    if runtime == "mlserver":
        server = MlserverServer(MlserverConfig(python=python, plugin=state, state=state))
    else:
        extras = frozenset(("onnx", "tensorflow", "pytorch"))
        server = TritonServer(TritonConfig(python=python, plugin=state, state=state, extras=extras))
    made = Looker(server)
    actor = asyncio.create_task(made.agent.actor.run())
    running = asyncio.create_task(made.assignments.run())
    await asyncio.sleep(0)
    try:
        yield made
        assert not running.done(), "the fetches ended, and with them the agent"
        assert not actor.done(), "the actor ended, and with it the agent"
    finally:
        for task in (running, actor):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await server.close()


def check(report: pb.ModelReport) -> None:
    """Prepared, or failed with one line for people that says which model and what of it."""
    if not report.failed:
        assert report.available
        return
    said = report.last_error
    assert said.startswith(f"model {NAME}: "), said
    assert "\n" not in said
    assert len(said) <= MOST_TOLD
    said.encode()
    assert "Traceback" not in said


async def look_at_all(
    runtime: str, folder: Path, formats: Mapping[str, Seedling], seeds: Iterator[int]
) -> tuple[int, int]:
    """How many were prepared, and how many failed."""
    prepared = failed = 0
    names = sorted(formats)
    async with looker(runtime, folder / "state") as made:
        for seed in seeds:
            chance = random.Random(seed)
            seedling = formats[chance.choice(names)]
            place = written(folder / "artifact", seedling, chance)
            requirements = seedling.requirements if chance.random() < 0.8 else ()
            begun = time.process_time()
            try:
                report = await made.look(place, requirements)
                check(report)
                if report.failed:
                    failed += 1
                else:
                    prepared += 1
                    await made.use()
                assert time.process_time() - begun < SLOWEST
                made.leave()
            except BaseException as error:
                error.add_note(f"seed {seed}, runtime {runtime}")
                raise
    return prepared, failed


@pytest.fixture(scope="module")
def formats(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Seedling]]:
    return seedlings(tmp_path_factory.mktemp("seedlings"))


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["mlserver", "triton"])
async def test_thousands_of_artifacts_and_none_ends_an_agent(
    runtime: str,
    tmp_path: Path,
    formats: dict[str, dict[str, Seedling]],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.ERROR)
    prepared, failed = await look_at_all(runtime, tmp_path, formats[runtime], iter(range(2000)))
    assert prepared > 200, "what is still well formed must be taken"
    assert failed > 200, "what is broken must be noticed"
    surprises = {str(each.exc_info[1]) for each in caplog.records if each.exc_info}
    assert not surprises, "known formats have words of their own for everything that is wrong"


@pytest.mark.soak
@pytest.mark.parametrize("runtime", ["mlserver", "triton"])
async def test_artifacts_that_nobody_has_seen_before(
    runtime: str, tmp_path: Path, formats: dict[str, dict[str, Seedling]]
) -> None:
    """Two minutes of other seeds each time."""
    until, first = time.monotonic() + 120.0, random.SystemRandom().getrandbits(48)

    def seeds() -> Iterator[int]:
        seed = first
        while time.monotonic() < until:
            yield seed
            seed += 1

    prepared, failed = await look_at_all(runtime, tmp_path, formats[runtime], seeds())
    print(f"{runtime}: {prepared} prepared, {failed} failed, from seed {first}")


def _settings(**parameters: object) -> bytes:
    return json.dumps({**SETTINGS, "parameters": parameters}).encode()


# Each ended an agent once, or might have: runtime, files, what people are told.
SEEN: Final[dict[str, tuple[str, dict[str, bytes], str]]] = {
    "an address that is none": (
        "mlserver",
        {"model-settings.json": _settings(uri="//[x"), "model.joblib": LINEAR},
        "model-settings.json: parameters.uri is '//[x', but that cannot be a file: Invalid IPv6 URL",
    ),
    "nested 100,000 deep": (
        "mlserver",
        {"model-settings.json": b"[" * 100_000 + b"]" * 100_000},
        "model-settings.json is nested more than 64 deep",
    ),
    "nested too deep for others": (
        "mlserver",
        {
            "model-settings.json": b'{"implementation": "a.B", "x": '
            + b"[" * 70
            + b"]" * 70
            + b"}",
            "model.joblib": LINEAR,
        },
        "model-settings.json is nested more than 64 deep",
    ),
    "a path of 5,000 characters": (
        "mlserver",
        {"model-settings.json": _settings(uri="a" * 5000), "model.joblib": LINEAR},
        "but that cannot be a file: File name too long; found model-settings.json, model.joblib",
    ),
    "a path with a zero byte": (
        "mlserver",
        {"model-settings.json": _settings(uri="a\0b"), "model.joblib": LINEAR},
        r"parameters.uri is 'a\x00b', but that cannot be a file: embedded null byte",
    ),
    "half of a surrogate pair": (
        "mlserver",
        {"model-settings.json": _settings(uri="\ud800"), "model.joblib": LINEAR},
        r"parameters.uri is '\ud800', but that cannot be a file",
    ),
    "a device": (
        "mlserver",
        {"model-settings.json": _settings(uri="/dev/zero"), "model.joblib": LINEAR},
        "which is a device, pipe or socket; expected a file or folder",
    ),
    "settings of megabytes": (
        "mlserver",
        {"model-settings.json": b'{"a": "' + b"x" * (1 << 20) + b'"}'},
        "model-settings.json cannot be read: it has more than 1048576 bytes",
    ),
    "a marker with 5,000 brackets": (
        "mlserver",
        {
            "model-settings.json": json.dumps({"implementation": "model.Custom"}).encode(),
            "requirements.txt": b"numpy ; " + b"(" * 5000 + b"python_version > '3'" + b")" * 5000,
        },
        'requirements.txt asks for "numpy ; ((',
    ),
    "a requirement of 300,000 lines": (
        "mlserver",
        {
            "model-settings.json": json.dumps({"implementation": "model.Custom"}).encode(),
            "requirements.txt": b"a\\\n" * 300_000,
        },
        "(expected at most 1000 characters)",
    ),
    "a marker of another kind": (
        "mlserver",
        {
            "model-settings.json": json.dumps({"implementation": "model.Custom"}).encode(),
            "requirements.txt": b"numpy ; nonsense == '1'",
        },
        "(expected NAME and versions)",
    ),
    "a type that is none": (
        "triton",
        {"config.pbtxt": CONFIG.replace(b"TYPE_FP32", b"99"), "1/model.onnx": b""},
        "config.pbtxt: input x: data_type is 99, expected a name such as TYPE_FP32",
    ),
    "a configuration nested deep": (
        "triton",
        {"config.pbtxt": b"ensemble_scheduling { step { " * 40_000, "1/model.py": b""},
        "config.pbtxt: it has more than 262144 bytes",
    ),
    "a file name of 5,000 characters": (
        "triton",
        {
            "config.pbtxt": CONFIG.replace(b'"model.onnx"', b'"' + b"n" * 5000 + b'"'),
            "1/model.onnx": b"",
        },
        "default_model_filename is 'nnn",
    ),
    "a file name that leads elsewhere": (
        "triton",
        {
            "config.pbtxt": CONFIG.replace(b'"model.onnx"', b'"../../x.onnx"'),
            "1/model.onnx": b"",
        },
        "default_model_filename is '../../x.onnx', expected the name of a file",
    ),
    "ONNX made of nothing but fields": (
        "triton",
        {"model.onnx": b"\x08\x01" * 2_000_001},
        "model.onnx cannot be read as an ONNX model: it has more than 2000000 fields",
    ),
}


@pytest.mark.parametrize("seen", SEEN)
async def test_what_was_seen(seen: str, tmp_path: Path) -> None:
    runtime, files, words = SEEN[seen]
    for name, content in files.items():
        (tmp_path / "artifact" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "artifact" / name).write_bytes(content)
    async with looker(runtime, tmp_path / "state") as made:
        report = await made.look(tmp_path / "artifact", ())
        check(report)
        assert words in report.last_error
        assert report.final, "the same files would be refused again"
        assert ModelName(NAME) not in made.agent.actor.entries
