"""Half an hour of evictions on each real server: memory stays where it belongs, and no request fails."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.process import Overbook, model_manifest, server_manifest
from tests.e2e.traffic import Caller, Tally
from tests.e2e.zoo import TrainedModel, networks
from tests.soak.conftest import FULL_EVICTIONS, FULL_MINUTES
from tests.soak.record import HIGHEST, LOWEST, MB, Recorder, Rest, anonymous, draw

pytestmark = pytest.mark.soak

CALLERS = 6
# Of 2 to 30 MB, each in a process of its own, which holds some tens of MB as well.
NETWORKS, PROCESS = 16, 45 * MB
# At rest, and from one rest to the next.
_QUIET, _BETWEEN = 2.5, 60.0
# Of the time, for every model to be loaded and asked often enough that the server has grown what it grows.
_WARM_UP = 0.1


@dataclass(frozen=True, slots=True)
class Fleet:
    """``models`` of a ``server`` that has memory for a third of them. ``surprise``: bytes that one of them may take
    while it loads, before anything is known of it.
    """

    server: str
    title: str
    models: list[TrainedModel]
    requirements: list[str]
    budget: int
    surprise: int

    @property
    def one_process(self) -> bool:
        """Whether all its models share one, whose memory must be what they are charged."""
        return self.server == "mlserver"


@pytest.fixture
def fleet(request: pytest.FixtureRequest) -> Iterator[Fleet]:
    if request.param == "mlserver":
        models: list[TrainedModel] = request.getfixturevalue("forty_models")
        budget, largest = (
            sum(each.bytes for each in models) // 3,
            max(each.bytes for each in models),
        )
        yield Fleet("mlserver", "MLServer", models, ["sklearn"], budget, largest)
        return
    with tempfile.TemporaryDirectory(prefix="ob-nets-") as folder:
        models = networks(Path(folder), NETWORKS, smallest=2.0, largest=30.0)
        budget = int(sum(each.bytes + PROCESS for each in models) // 3)
        # The file and its tensors are both in memory for a moment.
        largest = int(2 * max(each.bytes for each in models) + PROCESS)
        yield Fleet("triton", "Triton", models, ["triton", "onnx"], budget, largest)


async def _drive(port: int, models: list[TrainedModel], seconds: float) -> Tally:
    """Skewed requests over both protocols until the time is over; every answer is compared."""
    caller, tally = Caller(port), Tally()
    weights = [1 / (rank + 1) ** 0.6 for rank in range(len(models))]
    end = time.monotonic() + seconds

    async def one(number: int) -> None:
        choices = random.Random(number)
        while time.monotonic() < end:
            [model] = choices.choices(models, weights)
            ask = caller.rest if choices.random() < 0.5 else caller.grpc
            try:
                await ask(model)
                tally.answered += 1
            except AssertionError as error:
                tally.fail(str(error))
            await asyncio.sleep(0.02)

    try:
        await asyncio.gather(*(one(number) for number in range(CALLERS)))
    finally:
        await caller.close()
    return tally


@dataclass(slots=True)
class Referee:
    """Looks at the process of a server at rest. ``base``: bytes of it when it was empty."""

    recorder: Recorder
    pid: int
    base: int

    def look(self) -> Rest:
        """What is there when nothing was asked for a few seconds."""
        time.sleep(_QUIET)
        moment = self.recorder.look()
        assert moment is not None, "the server is not ready at rest"
        return Rest(moment.seconds, anonymous(self.pid) - self.base, moment.charged)


def _with_rests(
    port: int, models: list[TrainedModel], seconds: float, referee: Referee
) -> tuple[Tally, list[Rest]]:
    """Traffic for so long, with a look at rest after each minute of it."""
    total, rests = Tally(), []
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        tally = asyncio.run(_drive(port, models, min(left, _BETWEEN)))
        total.answered += tally.answered
        total.failed += tally.failed
        total.failures += tally.failures
        rests.append(referee.look())
    return total, rests


@pytest.mark.parametrize("fleet", ["mlserver", "triton"], indirect=True)
def test_thousands_of_evictions(home: Path, fleet: Fleet, minutes: float, pictures: Path) -> None:
    models, budget, largest = fleet.models, fleet.budget, fleet.surprise
    total = sum(model.bytes for model in models)
    with Overbook(home / "soak") as running:
        server = server_manifest(
            budget, name=fleet.server, serverConfig=fleet.server, overcommitPercentage=400
        )
        assert running.apply(server).code == 0
        with Recorder(running, server=fleet.server) as recorder:
            time.sleep(1.0)  # the empty process is seen
            [pid] = {moment.pid for moment in recorder.moments}
            referee = Referee(recorder, pid, anonymous(pid))
            # Nothing is declared: sizes are to be found out.
            applied = running.apply(
                *(
                    model_manifest(each.name, each.folder, requirements=fleet.requirements)
                    for each in models
                )
            )
            assert applied.code == 0, applied.err
            warm = asyncio.run(_drive(running.port, models, minutes * 60 * _WARM_UP))
            before = referee.look()
            tally, rests = _with_rests(running.port, models, minutes * 60 * (1 - _WARM_UP), referee)
            after = rests[-1]
            drift = after.unaccounted - before.unaccounted
        evictions = running.total("evictions")
        replicas = running.replicas()
        events = running.api.get("/api/v1/events").json()["events"]
    moments = recorder.moments
    draw(
        moments,
        budget,
        f"{fleet.title}: {tally.answered} requests, {evictions} evictions, "
        f"{len(models)} models with files of {total / MB:.0f} MB in a budget of {budget / MB:.0f} MB",
        pictures / f"soak-{fleet.server}.png",
        rests if fleet.one_process else (),
    )
    highest = max(moment.held - moment.base for moment in moments)
    print(
        f"\n{fleet.title}, {minutes:g} min: {tally.answered} answers, {tally.failed} failures, {evictions} evictions; "
        f"budget {budget / MB:.1f} MB, highest {highest / MB:.1f} MB beyond the base, drift {drift / MB:+.2f} MB "
        f"(at rest before: {before}; after: {after}), "
        f"one model's surprise {largest / MB:.1f} MB, {len(moments)} samples; held by charged at rest "
        f"{min(rest.ratio for rest in rests):.3f} to {max(rest.ratio for rest in rests):.3f}"
    )
    assert warm.failures + tally.failures == []
    assert evictions >= FULL_EVICTIONS * minutes / FULL_MINUTES
    assert max(moment.charged for moment in moments) <= budget + largest
    assert highest <= budget + largest, "budget, base and one model's surprise"
    replaced = [event for event in events if event["reason"] in ("ServerDied", "ServerRecycled")]
    assert [event["message"] for event in replaced] == [], "no process had to be replaced"
    assert len({moment.pid for moment in moments}) == 1
    assert replicas[0]["state"] == "ready"
    assert abs(drift) < 0.02 * budget
    if fleet.one_process:
        wrong = [str(rest) for rest in rests if not LOWEST <= rest.ratio <= HIGHEST]
        assert wrong == [], "what the process holds at rest is what is charged"
