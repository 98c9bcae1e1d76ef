"""A real scheduler on free ports, and scripted agents that speak to it over real gRPC."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from pathlib import Path
from typing import Final

import grpc
import grpc.aio
import httpx

from overbook.agent.surveys import survey_message
from overbook.artifacts.address import is_remote
from overbook.artifacts.survey import Survey, survey
from overbook.scheduler.api import ReadyCheck
from overbook.scheduler.manifests_in import Defaults
from overbook.scheduler.part import SchedulerConfig, SchedulerPart, running_scheduler
from overbook.scheduler.records import ArtifactAddress
from overbook.scheduler.web.limits import Limits
from overbook.wire import common_pb2, scheduler_pb2_grpc
from overbook.wire import scheduler_pb2 as pb
from overbook.wire.channel import CHANNEL_OPTIONS
from tests.unit.scheduler.described import description

MB: Final = 1_000_000
GROUP: Final = "overbook.dev/v1alpha1"


def server_document(name: str = "mlserver", **spec: object) -> dict[str, object]:
    values: dict[str, object] = {
        "serverConfig": "mlserver",
        "memory": "10M",
        "overcommitPercentage": 20,
    }
    return {
        "apiVersion": GROUP,
        "kind": "Server",
        "metadata": {"name": name},
        "spec": values | spec,
    }


def model_document(name: str, path: Path, **spec: object) -> dict[str, object]:
    values: dict[str, object] = {"storageUri": str(path), "memory": "1M"}
    return {
        "apiVersion": GROUP,
        "kind": "Model",
        "metadata": {"name": name},
        "spec": values | spec,
    }


async def until(
    what: str, check: Callable[[], Awaitable[bool] | bool], seconds: float = 10
) -> None:
    """Waits until ``check`` holds; fails with ``what`` when it does not in time."""
    deadline = time.monotonic() + seconds
    while True:
        answer = check()
        if isinstance(answer, bool):
            done = answer
        else:
            done = await answer
        if done:
            return
        if time.monotonic() > deadline:
            raise AssertionError(f"after {seconds} s it is still not so: {what}")
        await asyncio.sleep(0.01)


class ScriptedAgent:
    """An agent that keeps what it is assigned, and reports what the test tells it to."""

    def __init__(self, name: str, capabilities: Iterable[str] = ("sklearn",)) -> None:
        server, _, number = name.partition("/")
        self.ref: Final = common_pb2.ReplicaRef(server=server, replica=int(number))
        self.capabilities: Final = tuple(capabilities)
        self.memory = 10 * MB
        self.assigned: dict[str, pb.AssignedModel] = {}
        self.log: list[pb.SchedulerToAgent] = []
        self.synced = asyncio.Event()
        self.closed = asyncio.Event()
        self.available = True
        self.gone_at_once = True
        self.hears = True
        self.looks = True
        self.machine = "here"
        self.command_reason: str | None = ""
        self.server_log: list[bytes] = []
        self._known: set[str] = set()
        self._send: asyncio.Queue[pb.AgentToScheduler | None] = asyncio.Queue()

    async def run(self, target: str) -> None:
        """One session, until the scheduler ends it or the task is cancelled."""
        self.synced.clear()
        self.closed.clear()
        self._send = asyncio.Queue()
        async with grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS) as channel:
            call = scheduler_pb2_grpc.SchedulerServiceStub(channel).AgentSession(self._outgoing())
            try:
                async for message in call:
                    self._take(message)
            except grpc.aio.AioRpcError as error:
                if error.code() is not grpc.StatusCode.ABORTED:
                    raise
            finally:
                call.cancel()
                self.closed.set()

    async def _outgoing(self) -> AsyncIterator[pb.AgentToScheduler]:
        yield pb.AgentToScheduler(
            hello=pb.AgentHello(
                replica=self.ref,
                runtime="mlserver",
                capabilities=self.capabilities,
                memory_bytes=self.memory,
                agent_target=f"unix:/agent-{self.ref.replica}",
                machine=self.machine,
            )
        )
        while (message := await self._send.get()) is not None:
            yield message

    def _take(self, message: pb.SchedulerToAgent) -> None:
        self.log.append(message)
        match message.WhichOneof("message"):
            case "assignments":
                self._assign(message.assignments)
                if self.hears and message.assignments.revision:
                    heard = pb.AgentToScheduler(heard=message.assignments.revision)
                    self._send.put_nowait(heard)
            case "configure":
                self.memory = message.configure.memory_bytes
            case "look":
                seen = (
                    survey_message(
                        f"{each.storage_uri}: nothing is there"
                        if is_remote(each.storage_uri)
                        else survey(each.storage_uri)
                    )
                    for each in message.look.artifacts
                )
                answer = pb.Surveys(id=message.look.id, artifacts=seen)
                if self.looks:
                    self._send.put_nowait(pb.AgentToScheduler(surveys=answer))
            case "read_log":
                self._send.put_nowait(pb.AgentToScheduler(log=self._piece(message.read_log)))
            case "command" if self.command_reason is not None:
                result = pb.CommandResult(
                    id=message.command.id,
                    ok=not self.command_reason,
                    reason=self.command_reason,
                )
                self._send.put_nowait(pb.AgentToScheduler(command_result=result))
            case _:
                pass

    def _piece(self, asked: pb.ReadLog) -> pb.LogPiece:
        """A place in the log is the number of its lines before that."""
        end = len(self.server_log)
        begin = int(asked.after) if asked.after else max(0, end - asked.lines)
        text = b"".join(self.server_log[begin:])
        return pb.LogPiece(id=asked.id, text=text, next=str(end), path="/server.log")

    def _assign(self, update: pb.AssignmentUpdate) -> None:
        if update.reset:
            self._known = set()
        for model in update.assigned:
            self.assigned[model.name] = model
            self._known.add(model.name)
        gone = list(update.revoked)
        if update.complete:
            gone += [name for name in self.assigned if name not in self._known]
            self.synced.set()
        for name in gone:
            self.assigned.pop(name, None)
        if self.available and update.assigned:
            self.report(*(model.name for model in update.assigned))
        if self.gone_at_once and gone:
            self.say_gone(*gone)

    def report(self, *names: str, failed: str = "", available: bool = True) -> None:
        reports = [
            pb.ModelReport(
                name=name,
                generation=self.assigned[name].generation,
                state=common_pb2.FAILED if failed else common_pb2.COLD,
                available=available,
                failed=bool(failed),
                last_error=failed,
            )
            for name in names
        ]
        self._send.put_nowait(pb.AgentToScheduler(status=pb.StatusReport(models=reports)))

    def report_server(self, **values: object) -> None:
        report = pb.ServerReport(**values)  # type: ignore[arg-type]  # a table of fields
        self._send.put_nowait(pb.AgentToScheduler(status=pb.StatusReport(server=report)))

    def say_gone(self, *names: str) -> None:
        self._send.put_nowait(pb.AgentToScheduler(status=pb.StatusReport(gone=names)))

    def say_event(self, reason: str, model: str, message: str) -> None:
        event = pb.EventReport(time=time.time(), reason=reason, model=model, message=message)
        self._send.put_nowait(pb.AgentToScheduler(event=event))


class Catalogue:
    """A gateway's view of the catalogue, kept as a gateway would. ``hears``: it says how far it has followed."""

    def __init__(self, name: str = "test") -> None:
        self.name: Final = name
        self.hears = True
        self.models: dict[str, list[str]] = {}
        self.reasons: dict[str, str] = {}
        self.targets: dict[str, str] = {}
        self.complete = asyncio.Event()

    async def run(self, target: str) -> None:
        async with grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS) as channel:
            stub = scheduler_pb2_grpc.SchedulerServiceStub(channel)
            call = stub.WatchCatalogue()
            await call.write(pb.WatchCatalogueRequest(gateway=self.name))
            async for update in call:
                self.take(update)
                if self.hears and update.revision:
                    await call.write(pb.WatchCatalogueRequest(heard=update.revision))

    def take(self, update: pb.CatalogueUpdate) -> None:
        if update.reset:
            self.models, self.reasons, self.targets = {}, {}, {}
        for each in update.replicas:
            self.targets[f"{each.ref.server}/{each.ref.replica}"] = each.agent_target
        for gone in update.removed_replicas:
            self.targets.pop(f"{gone.server}/{gone.replica}", None)
        for model in update.models:
            self.models[model.name] = [f"{each.server}/{each.replica}" for each in model.replicas]
            self.reasons[model.name] = model.reason
        for name in update.removed:
            self.models.pop(name, None)
        if update.complete:
            self.complete.set()


async def as_described(answer: httpx.Response) -> None:
    """Fails when a call of the control API is answered otherwise than its description says."""
    method, url = answer.request.method, answer.request.url.path
    if description().knows(method, url):
        kind = answer.headers["content-type"].partition(";")[0]
        content = await answer.aread()
        assert description().faults(method, url, answer.status_code, kind, content) == []


class Harness:
    """A scheduler, its control API, and whoever was started beside it. What ``http`` is answered is as described."""

    def __init__(self, scheduler: SchedulerPart, http: httpx.AsyncClient) -> None:
        self.scheduler: Final = scheduler
        self.http: Final = http
        self._tasks: list[asyncio.Task[None]] = []

    async def apply(self, *documents: dict[str, object]) -> list[dict[str, object]]:
        answer = await self.http.post("/api/v1/apply", json={"documents": documents})
        assert answer.status_code == 200, answer.text
        results = answer.json()["results"]
        assert isinstance(results, list)
        return results

    async def agent(self, agent: ScriptedAgent) -> asyncio.Task[None]:
        """Connects an agent and waits until it has its full sync."""
        task = asyncio.create_task(agent.run(self.scheduler.grpc_target))
        self._tasks.append(task)
        async with asyncio.timeout(10):
            await agent.synced.wait()
        return task

    async def gateway(self, name: str = "test") -> Catalogue:
        catalogue = Catalogue(name)
        self._tasks.append(asyncio.create_task(catalogue.run(self.scheduler.grpc_target)))
        async with asyncio.timeout(10):
            await catalogue.complete.wait()
        return catalogue

    async def begun(self, method: str, url: str, body: bytes) -> int:
        """How a request is answered whose body, of JSON, begins so and does not go on."""
        host, _, port = self.scheduler.api_url.removeprefix("http://").partition(":")
        head = (
            f"{method} {url} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
            "transfer-encoding: chunked\r\n\r\n"
        )
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(head.encode() + f"{len(body):x}\r\n".encode() + body + b"\r\n")
            answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(answer.partition("content-length: ")[2].partition("\r\n")[0])
            content = await reader.readexactly(length)
        finally:
            writer.close()
        status = int(answer.split()[1])
        assert description().faults(method, url, status, "application/json", content) == []
        return status

    async def reason(self, name: str) -> str:
        answer = await self.http.get(f"/api/v1/models/{name}")
        if answer.status_code == 404:
            return "404"
        return str(answer.json()["status"]["conditions"][0]["reason"])

    async def until_reason(self, name: str, reason: str) -> None:
        async def reached() -> bool:
            return await self.reason(name) == reason

        await until(f"{name} is {reason}", reached)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def survey_at(address: ArtifactAddress) -> Survey | str:
    """What is there, on this machine."""
    return survey(address.storage_uri, address.version)


@contextlib.asynccontextmanager
async def harness(
    folder: Path,
    defaults: Defaults | None = None,
    missing: ReadyCheck = lambda: None,
    look: Callable[[ArtifactAddress], Survey | str] | None = survey_at,
    limits: Limits | None = None,
    allowed_hosts: tuple[str, ...] = (),
    cors_origins: tuple[str, ...] = (),
) -> AsyncIterator[Harness]:
    """``look``: None for a scheduler that is on no machine with agents."""
    config = SchedulerConfig(
        state_dir=folder / "scheduler",
        listen="127.0.0.1:0",
        api_port=0,
        defaults=defaults or Defaults(),
        look=look,
        allowed_hosts=allowed_hosts,
        cors_origins=cors_origins,
        limits=limits or Limits(),
    )
    async with (
        running_scheduler(config, missing) as scheduler,
        httpx.AsyncClient(
            base_url=scheduler.api_url, timeout=30, event_hooks={"response": [as_described]}
        ) as http,
    ):
        running = Harness(scheduler, http)
        try:
            yield running
        finally:
            await running.stop()
