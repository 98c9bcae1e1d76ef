"""The control API's description of itself, and that all that can be read is exactly so, whatever state it is in.

What acts, and what is refused, is called in `tests/integration/test_scheduler_described.py`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from overbook.agent.servers.protocol import Presence
from overbook.agent.supervisor import Phase
from overbook.artifacts.survey import survey
from overbook.scheduler.api import create_app
from overbook.scheduler.records import ForeignModel, Report
from overbook.scheduler.surveyor import Surveyor
from overbook.wire.common_pb2 import ModelState
from tests.unit.scheduler.described import description, idle_actor, idle_audit
from tests.unit.scheduler.world import MB, World, a_report

HERE = "mlserver/0"
# JSON can say it, UTF-8 cannot.
STRANGE = 'said "no"\n\ud800'


def nothing(world: World) -> None:
    """Neither a Server nor a Model."""


def waiting(world: World) -> None:
    """A Server whose agent never came, and a Model that waits for it."""
    world.server()
    world.apply("early")


def everything(world: World) -> None:
    """Models in each state, reported in full and barely, placed and not, and a Server in each state."""
    world.server(replicas=2, extraCapabilities=["fraud"])
    world.hello(HERE)
    world.hello("mlserver/1")
    for number, state in enumerate(ModelState.values()):
        name = f"m{number}"
        world.apply(name, memory=None if number % 2 else "100Ki", replicas=1 + number % 2)
        world.report(HERE, name, in_full(state, failed=number % 3 == 1))
        world.report("mlserver/1", name, a_report(state=state))
    world.model("m1").metadata = json.dumps(
        {"namespace": "a", "labels": {"team": STRANGE}, "annotations": {}}
    )
    world.apply("lost", requirements=["nothing-offers-this"])
    world.apply("huge", memory="1T")
    world.apply("going")
    world.delete("going")
    for number, phase in enumerate(Phase):
        server_in(world, f"server-{number}", phase, number or None)
    world.bye("server-1/0")
    # One of its replicas is about to go.
    world.server(replicas=1)


def in_full(state: int, *, failed: bool) -> Report:
    return a_report(
        state=state,
        available=not failed,
        failed=failed,
        final=failed,
        declared=102400,
        measured=5 * MB,
        charged=6 * MB,
        last_used=1_700_000_000.25,
        in_flight=2,
        loads=3,
        evictions=4,
        last_error=STRANGE,
        unverified=STRANGE,
    )


def server_in(world: World, name: str, phase: Phase, seen: int | None) -> None:
    """A Server whose agent said this, with the numbers that can be ``seen``."""
    world.server(name)
    world.hello(f"{name}/0")
    world.server_report(
        f"{name}/0",
        state=phase.value,
        message="" if phase is Phase.READY else STRANGE,
        process=seen,
        base=seen,
        pid=seen or 0,
        rest="" if seen is None else "127.0.0.1:8001",
        foreign=tuple(ForeignModel(each.value, each.value, seen) for each in Presence),
    )


@pytest.fixture(params=[nothing, waiting, everything], ids=lambda made: made.__name__)
async def api(request: pytest.FixtureRequest) -> AsyncIterator[tuple[httpx.AsyncClient, World]]:
    """The real application over the state that the parameter makes."""
    world = World()
    make: Callable[[World], None] = request.param
    make(world)
    actor = idle_actor()
    actor.state = world.state
    for name in (*world.state.seats.models, *world.state.seats.servers):
        kind = "Model" if name in world.state.seats.models else "Server"
        actor.events.add("Seen", kind=kind, name=name, message="it is there", time=1.5)
        actor.events.add(
            "Lost", kind=kind, name=name, message=STRANGE, time=2.5, warning=True, replica=HERE
        )
    transport = httpx.ASGITransport(
        create_app(
            actor,
            Surveyor(actor, lambda each: survey(each.storage_uri)),
            lambda: None,
            idle_audit(),
        )
    )
    async with httpx.AsyncClient(transport=transport, base_url="http://api") as http:
        yield http, world
    await actor.close()


async def test_what_is_read_is_exactly_as_described(
    api: tuple[httpx.AsyncClient, World],
) -> None:
    http, world = api
    seats = world.state.seats
    names = [f"models/{each}" for each in seats.models]
    names += [f"servers/{each}" for each in seats.servers]
    paths = [
        *("models", "servers", "version"),
        *names,
        *(f"{each}/describe" for each in names),
        *("events", "events?after=1", "events?model=m1"),
    ]
    for path in (*(f"/api/v1/{each}" for each in paths), "/healthz", "/readyz", "/metrics"):
        answer = await http.get(path)
        assert answer.status_code == 200
        kind = answer.headers["content-type"].partition(";")[0]
        assert description().faults("GET", path, 200, kind, answer.content) == [], path


def test_every_field_is_told_of() -> None:
    untold = [
        (body, name) for body, name, said in description().fields() if not said.get("description")
    ]
    assert untold == []


def test_every_call_is_told_of_and_only_what_is_answered() -> None:
    for call, operation in description().operations.items():
        assert operation["description"], call
        assert "422" not in operation["responses"], call


def test_words_are_those_of_who_says_them() -> None:
    said = {(body, name): value for body, name, value in description().fields()}
    assert said["ServerReplica", "state"]["enum"] == [
        "disconnected",
        *(each.value for each in Phase),
    ]
    assert said["ForeignModel", "state"]["enum"] == [each.value for each in Presence]
    states = [name.lower() for name, number in ModelState.items() if number]
    assert said["ModelReplica", "state"]["enum"] == states


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ({"version": "1"}, []),
        ({}, ["body.version is missing"]),
        ({"version": 1}, ["body.version: 1 is no string"]),
        ({"version": "1", "more": 2}, ["body.more is not described"]),
        ([], ["body: [] is no object"]),
    ],
)
def test_what_is_not_as_described_is_seen(body: object, fault: list[str]) -> None:
    content = json.dumps(body).encode()
    assert description().faults("GET", "/api/v1/version", 200, "application/json", content) == fault
