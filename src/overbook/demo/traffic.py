"""Sends the workload: some clients at a time, over REST and gRPC, every answer checked, until time is up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from overbook.demo.cases import Case, DemoModel, WrongAnswer
from overbook.demo.connections import Connection, GrpcConnection, RequestFailed, RestConnection
from overbook.demo.tally import Traffic
from overbook.demo.workload import Client, Workload

CLIENTS: Final = 12
REQUEST_TIMEOUT_SECONDS: Final = 30.0
# After an error, so that a system that is down is not asked thousands of times a second.
_ERROR_PAUSE_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Target:
    """Where the data plane is."""

    host: str
    port: int


async def send(
    target: Target,
    workload: Workload,
    models: Mapping[str, DemoModel],
    traffic: Traffic,
    *,
    seconds: float,
) -> None:
    """Run all clients for `seconds`; requests that are under way then are finished."""
    begun = time.monotonic()
    async with asyncio.TaskGroup() as clients:
        for number in range(CLIENTS):
            kind = GrpcConnection if number % 2 else RestConnection
            drive = _drive(
                kind(target.host, target.port),
                workload.client(number),
                {name: model.cases for name, model in models.items()},
                traffic,
                window=(begun, begun + seconds),
            )
            clients.create_task(drive, name=f"demo client {number}")


async def _drive(
    connection: Connection,
    client: Client,
    cases: Mapping[str, tuple[Case, ...]],
    traffic: Traffic,
    *,
    window: tuple[float, float],
) -> None:
    begun, end = window
    try:
        while time.monotonic() < end:
            session = client.session(time.monotonic() - begun)
            mine = cases[session.model]
            again = False
            for pause, choice in zip(session.pauses, client.choices(len(mine)), strict=False):
                if time.monotonic() >= end:
                    return
                again = await _ask(connection, session.model, mine[choice], traffic, again=again)
                await asyncio.sleep(pause if again else _ERROR_PAUSE_SECONDS)
    finally:
        await connection.close()


async def _ask(
    connection: Connection, model: str, case: Case, traffic: Traffic, *, again: bool
) -> bool:
    """One request into the books; whether it ended well."""
    started = time.monotonic()
    well = False
    try:
        await connection.ask(case, timeout=REQUEST_TIMEOUT_SECONDS)
        well = True
    except RequestFailed as error:
        traffic.problem(f"{model}: {error}", wrong=False)
    except WrongAnswer as error:
        traffic.problem(f"{model}: {error}", wrong=True)
    seconds = time.monotonic() - started
    traffic.answered(model, over_grpc=connection.over_grpc, again=again, seconds=seconds)
    return well
