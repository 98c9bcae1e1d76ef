"""Looks at files where they are: whom it asks, when again, and what an apply tells of sources that do not answer."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from overbook.placement import ReplicaId
from overbook.scheduler import agents_in
from overbook.scheduler.actor import Actor
from overbook.scheduler.apply import Result, apply
from overbook.scheduler.errors import Unavailable
from overbook.scheduler.known_tokens import KnownTokens
from overbook.scheduler.manifests_in import Defaults
from overbook.scheduler.records import Hello
from overbook.scheduler.state import State
from overbook.scheduler.store import Store
from overbook.scheduler.surveyor import Surveyor
from overbook.scheduler.token_key import TokenKey
from overbook.scheduler.vault import Vault
from overbook.wire import scheduler_pb2 as pb
from tests.unit.agent.virtual_time import in_virtual_time
from tests.unit.artifacts.slow_disk import SlowDisk
from tests.unit.scheduler.world import MB, document

URI = "s3://bucket/iris"


@dataclass
class Machines:
    """What agents see, by machine and address: a fingerprint, or why not ("?" before it: it may pass)."""

    seen: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)
    away: set[str] = field(default_factory=set)

    async def look(
        self, replica: ReplicaId, artifacts: Sequence[pb.Artifact], timeout: float
    ) -> Sequence[pb.ArtifactSurvey]:
        machine = replica.server
        if machine in self.away:
            raise Unavailable(f"the agent of {replica} went away; try again")
        return [self._of(machine, each.storage_uri) for each in artifacts]

    def _of(self, machine: str, uri: str) -> pb.ArtifactSurvey:
        self.asked[machine, uri] += 1
        told = self.seen.get(machine, {}).get(uri, "nothing is there")
        if told.startswith("?"):
            return pb.ArtifactSurvey(error=told[1:], passing=True)
        if " " in told:
            return pb.ArtifactSurvey(error=told)
        return pb.ArtifactSurvey(bytes=MB, fingerprint=told)


class Scheduler:
    def __init__(self, folder: Path) -> None:
        loop = asyncio.get_running_loop()
        self.actor = Actor(
            Store(folder / "state.db"),
            Vault(folder / "key"),
            KnownTokens(TokenKey(folder / "tokens.key"), "", loop.time),
            Defaults(),
            loop.time,
        )
        self.actor._thread = SlowDisk(loop, lambda: 0.001)
        self.machines = Machines()
        self.actor.links.look = self.machines.look  # type: ignore[method-assign]
        self.surveyor = Surveyor(self.actor, None)

    async def hello(self, machine: str) -> None:
        async def come(state: State, now: float) -> None:
            hello = Hello(
                "mlserver", frozenset({"sklearn"}), 100 * MB, "unix:/a", frozenset(), machine
            )
            agents_in.hello(state, ReplicaId(machine, 0), hello, now)

        await self.apply(document("Server", machine, serverConfig="mlserver", memory="100M"))
        await self.actor.submit(come)

    async def apply(self, *documents: dict[str, object], dry_run: bool = False) -> list[Result]:
        return await apply(self.actor, self.surveyor, list(documents), dry_run=dry_run)  # type: ignore[arg-type]

    async def iris(self, uri: str = URI, *, dry_run: bool = False, **spec: object) -> Result:
        made = document("Model", "iris", storageUri=uri, **spec)
        (result,) = await self.apply(made, dry_run=dry_run)
        return result


@asynccontextmanager
async def scheduler(folder: Path, *machines: str) -> AsyncIterator[Scheduler]:
    made = Scheduler(folder)
    await made.actor.load()
    async with asyncio.TaskGroup() as tasks:
        running = [
            tasks.create_task(made.actor.run()),
            tasks.create_task(made.surveyor.run()),
        ]
        for machine in machines:
            await made.hello(machine)
        yield made
        for each in running:
            each.cancel()
    await made.actor.close()


@in_virtual_time
async def test_a_source_that_does_not_answer_is_asked_again_with_growing_pauses(
    tmp_path: Path,
) -> None:
    async with scheduler(tmp_path, "one") as made:
        made.machines.seen["one"] = {URI: "?its source is away"}
        result = await made.iris()
        assert result.action == "created"
        assert "its source is away; it is asked again" in result.warnings[0]
        model = made.actor.state.model("iris")
        assert model.unseen is not None
        assert not model.seats
        await asyncio.sleep(1000)
        # The apply, once more as it is told of, and then after 5, 10, 20, 40, 80 and each 120 s.
        assert 10 <= made.machines.asked["one", URI] <= 16
        made.machines.seen["one"] = {URI: "f1"}
        await asyncio.sleep(125)
        model = made.actor.state.model("iris")
        assert (model.unseen, model.fingerprint) == (None, "f1")
        assert model.seats
        asked = made.machines.asked["one", URI]
        await asyncio.sleep(1000)
        assert made.machines.asked["one", URI] == asked


@in_virtual_time
async def test_a_person_has_a_source_asked_at_once(tmp_path: Path) -> None:
    async with scheduler(tmp_path, "one") as made:
        made.machines.seen["one"] = {URI: "?its source is away"}
        await made.iris()
        await asyncio.sleep(1000)
        made.machines.seen["one"] = {URI: "f1"}
        await made.surveyor.look_again("iris")
        model = made.actor.state.model("iris")
        assert (model.unseen, model.fingerprint) == (None, "f1")
        asked = made.machines.asked["one", URI]
        await made.surveyor.look_again("iris")
        await made.surveyor.look_again("nobody")
        assert made.machines.asked["one", URI] == asked


@in_virtual_time
async def test_a_known_model_is_served_on_with_a_warning(tmp_path: Path) -> None:
    async with scheduler(tmp_path, "one") as made:
        made.machines.seen["one"] = {URI: "f1"}
        assert (await made.iris()).warnings == ()
        made.machines.seen["one"] = {URI: "?its source is away"}
        result = await made.iris()
        assert result.action == "unchanged"
        assert "its source is away" in result.warnings[0]
        assert made.actor.state.model("iris").seats


@in_virtual_time
async def test_a_source_that_is_gone_refuses_the_new_and_leaves_the_known(tmp_path: Path) -> None:
    async with scheduler(tmp_path, "one") as made:
        refused = await made.iris()
        assert (refused.action, refused.error) == ("failed", "spec.storageUri: nothing is there")
        made.machines.seen["one"] = {URI: "f1"}
        await made.iris()
        made.machines.seen["one"] = {}
        result = await made.iris()
        assert result.action == "unchanged"
        assert "what was fetched of it is served as before" in result.warnings[0]


@in_virtual_time
async def test_a_dry_run_says_the_same(tmp_path: Path) -> None:
    async with scheduler(tmp_path, "one") as made:
        refused = await made.iris(dry_run=True)
        assert (refused.action, refused.error) == ("failed", "spec.storageUri: nothing is there")
        made.machines.seen["one"] = {URI: "f1"}
        await made.iris()
        made.machines.seen["one"] = {}
        result = await made.iris(dry_run=True)
        assert result.action == "valid"
        assert "what was fetched of it is served as before" in result.warnings[0]


@in_virtual_time
async def test_only_who_asks_for_it_is_refreshed(tmp_path: Path) -> None:
    async with scheduler(tmp_path, "one") as made:
        other = "s3://bucket/other"
        made.machines.seen["one"] = {URI: "f1", other: "f1"}
        await made.iris(refresh="60s")
        await made.apply(document("Model", "other", storageUri=other))
        await asyncio.sleep(59)
        assert made.machines.asked["one", URI] == 1
        await asyncio.sleep(2)
        assert made.machines.asked["one", URI] == 2
        assert made.actor.state.model("iris").generation == 1
        made.machines.seen["one"] = {URI: "f2", other: "f2"}
        await asyncio.sleep(60)
        assert made.machines.asked["one", URI] == 3
        model = made.actor.state.model("iris")
        assert (model.generation, model.fingerprint) == (2, "f2")
        assert made.machines.asked["one", other] == 1
        assert made.actor.state.model("other").fingerprint == "f1"


@in_virtual_time
async def test_after_a_restart_sources_of_known_models_are_not_asked(tmp_path: Path) -> None:
    async with scheduler(tmp_path, "one") as made:
        made.machines.seen["one"] = {URI: "f1"}
        await made.iris()
    async with scheduler(tmp_path, "one") as again:
        again.machines.seen["one"] = {URI: "f1"}
        await asyncio.sleep(1000)
        assert again.machines.asked["one", URI] == 0
        assert again.actor.state.model("iris").unseen is None
        assert again.actor.state.model("iris").seats


@in_virtual_time
async def test_of_two_machines_one_that_has_the_model_is_enough(tmp_path: Path) -> None:
    async with scheduler(tmp_path, "one", "two") as made:
        made.machines.seen = {"one": {URI: "?its source is away"}, "two": {URI: "f2"}}
        assert (await made.iris()).warnings == ()
        assert made.actor.state.model("iris").fingerprint == "f2"


@in_virtual_time
async def test_of_two_machines_one_that_may_yet_find_it_outweighs_one_that_does_not(
    tmp_path: Path,
) -> None:
    async with scheduler(tmp_path, "one", "two") as made:
        made.machines.seen = {"one": {}, "two": {URI: "?its source is away"}}
        result = await made.iris()
        assert result.action == "created"
        assert "its source is away" in result.warnings[0]
