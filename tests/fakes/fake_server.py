"""A fake inference server: the order of things as in the real one, scripted behaviour, no process.

Passes tests/conformance, as the real adapters do. Models are scripted by ``behaviour.json`` in their
artifact, or by `FakeServer.scripts` where a test has no files. Time comes from the ``sleep`` handed in.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from overbook.agent.deaths import Calls
from overbook.agent.servers.protocol import (
    Addresses,
    Exposition,
    ModelRejected,
    PreparedModel,
    Presence,
    ProcessMemory,
    ServerStartFailed,
    ServerUnreachable,
    UnloadFailed,
    WeighingFailed,
    Weight,
)

BEHAVIOUR_FILE = "behaviour.json"
_LOOK_SECONDS = 0.001
_MISSING_SECONDS = 1.0
_SILENT_SECONDS = 0.5
Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Script:
    """What a model does. ``answer``: of its predictions, each of which ``thinks`` for so many seconds.

    ``size``: bytes it takes while loaded, ``grows``: and so many more that only its requests bring. ``leak``: bytes
    that each of its loads leaves behind for good. The rest is about its load.
    """

    answer: int = 0
    seconds: float = 0.0
    fail: str = ""
    hang: bool = False
    crash: bool = False
    size: int = 1_000_000
    grows: int = 0
    leak: int = 0
    thinks: float = 0.0


class FakeServer:
    """An `InferenceServer`. ``calls`` has what was asked of it, in order.

    ``isolated``: each model has a process of its own, as in Triton's Python backend: a crash is the model's alone.
    ``weighs``: it can load a model in a fresh process, as MLServer with our launcher can, in ``scale_seconds``.
    ``counts_requests``: it says when nothing is in flight; ``arrived``: by model, and the gateway that let it through.
    """

    base_bytes = 50_000_000
    # How long before the deadline the process of a hung model is ended, where it has one.
    reserve_seconds = 5.0

    def __init__(
        self,
        sleep: Sleep = asyncio.sleep,
        *,
        isolated: bool = False,
        weighs: bool = False,
        counts_requests: bool = False,
    ) -> None:
        self._sleep = sleep
        self.weighs = weighs
        self.scale_seconds = 0.05
        self.samples = (
            False  # whether requests are known that can be asked where models are weighed
        )
        self.bodies = 0  # bytes that requests hold meanwhile
        self._counts_requests = counts_requests
        self.present: Counter[str] = Counter()
        self.arrived: Counter[tuple[str, str]] = Counter()
        self.isolated = isolated
        self._losses: asyncio.Queue[str] = asyncio.Queue()
        self._pid: int | None = None
        self._starts = 0
        self._exit: asyncio.Future[int] | None = None
        self._loaded: dict[str, Script] = {}
        self._loading: set[str] = set()
        self.scripts: dict[str, Script] = {}
        self.start_failure = ""
        self.leaked = 0
        self.unload_seconds = 0.0
        self.unload_problem = ""  # what goes wrong with a model's own part in that
        self.unload_refused = ""
        self.calls: list[str] = []
        self.weighings: list[str] = []
        self.open: Calls | None = None  # what it says that it is doing
        self.on_start = asyncio.Event()
        self.mute = False  # whether it leaves questions unanswered whether it lives

    @property
    def addresses(self) -> Addresses:
        return Addresses(rest="127.0.0.1:1", grpc="127.0.0.1:2")

    @property
    def pid(self) -> int | None:
        return self._pid

    @property
    def counts_requests(self) -> bool:
        return self._counts_requests

    async def start(self, *, timeout: float) -> None:
        self.calls.append("start")
        if self._pid is not None:
            raise ServerStartFailed("already running")
        if self.start_failure:
            raise ServerStartFailed(self.start_failure)
        self._starts += 1
        self._pid = 100_000 + self._starts
        self.on_start.set()
        self._exit = asyncio.get_running_loop().create_future()
        self._loaded, self._loading = {}, set()

    async def stop(self, *, grace: float) -> None:
        self.calls.append("stop")
        self._end(0)

    async def close(self) -> None:
        self._end(0)

    async def wait_exit(self) -> int:
        if self._exit is None:
            raise RuntimeError("wait_exit() before start()")
        return await asyncio.shield(self._exit)

    async def live(self, *, timeout: float) -> bool:
        waited = 0.0
        while self.mute and waited < timeout:
            await self._sleep(_SILENT_SECONDS)
            waited += _SILENT_SECONDS
        return self._pid is not None and not self.mute

    def open_calls(self) -> Calls | None:
        return self.open

    async def validate(self, model: PreparedModel) -> None:
        if model.name not in self.scripts and not model.artifact.is_dir():
            raise ModelRejected(f"model {model.name}: its artifact {model.artifact} does not exist")

    async def load(self, model: PreparedModel, *, timeout: float) -> None:
        self._require_running()
        await self.validate(model)
        name = model.name
        self.calls.append(f"load {name}")
        if name in self._loading:
            raise AssertionError(f"two loads of {name} at a time: the caller promised one")
        script = self._script(model)
        epoch = self._starts
        self._loading.add(name)
        try:
            await self._within(self._act(script, timeout), timeout, f"load of {name}")
        finally:
            if epoch == self._starts:
                self._loading.discard(name)
        self._require_running()
        self._loaded[name] = script
        self.leaked += script.leak

    async def unload(
        self, name: str, *, timeout: float, idle: bool = False, measure: bool = False
    ) -> int | None:
        self._require_running()
        self.calls.append(f"unload {name}")
        await self._within(self._sleep(self.unload_seconds), timeout, f"unload of {name}")
        self._require_running()
        gone = self._loaded.pop(name, None)
        if self.unload_problem:
            raise UnloadFailed(self.unload_problem)
        if self.unload_refused:
            raise ServerUnreachable(f"unload of {name}: {self.unload_refused}")
        if not (measure and self.weighs) or gone is None:
            return None
        return gone.size + gone.grows

    async def settle(self, name: str, passed: Mapping[str, int], *, timeout: float) -> None:
        self._require_running()
        if self._counts_requests:
            await self._within(self._settled(name, passed), timeout, f"settle of {name}")

    async def idle(self, name: str, passed: Mapping[str, int], *, timeout: float) -> bool:
        self._require_running()
        if not self._counts_requests:
            return False
        found: list[bool] = []
        work = self._looked(name, passed, timeout, found)
        await self._within(work, timeout + 1.0, f"idle of {name}")
        return found == [True]

    async def presence(self, name: str, *, timeout: float) -> Presence:
        self._require_running()
        return self._presences().get(name, Presence.ABSENT)

    async def index(self, *, timeout: float) -> Mapping[str, Presence]:
        self._require_running()
        return self._presences()

    async def metadata(self, name: str, *, timeout: float) -> Mapping[str, object]:
        self._require_running()
        if name not in self._loaded:
            raise ModelRejected(f"metadata of {name}: 404 not found")
        return _metadata(name)

    async def static_metadata(self, model: PreparedModel) -> Mapping[str, object]:
        await self.validate(model)
        return _metadata(model.name)

    async def memory(self) -> ProcessMemory:
        if self._pid is None:
            return ProcessMemory(bytes=0, processes=0)
        return ProcessMemory(bytes=self.held, processes=1)

    @property
    def held(self) -> int:
        """Bytes of the process: its base, the models, and what they left behind."""
        models = sum(script.size + script.grows for script in self._loaded.values())
        return self.base_bytes + models + self.leaked + self.bodies

    async def model_memory(self, name: str) -> ProcessMemory | None:
        if not self.isolated or name not in self._loaded:
            return None
        return ProcessMemory(bytes=self._loaded[name].size, processes=1)

    async def sample(self, name: str) -> bytes | None:
        return b"{}" if self.samples and name in self._loaded else None

    async def weigh(
        self, model: PreparedModel, *, timeout: float, request: bytes | None = None
    ) -> Weight | None:
        if not self.weighs:
            return None
        await self.validate(model)
        script = self._script(model)
        self.weighings.append(model.name)
        await self._sleep(self.scale_seconds + script.seconds)
        if script.crash or script.hang:
            raise WeighingFailed("the load ended its process", died=True)
        if script.fail:
            raise WeighingFailed(script.fail, raised=True)
        kept = script.size + (0 if request is None else script.grows)
        return Weight(kept, kept, asked=request is not None)

    async def grown(self, name: str) -> int | None:
        """Whoever asks has asked the model something before."""
        held = self._loaded.get(name)
        return held.grows if self.weighs and held is not None and not self.bodies else None

    async def borrowed(self) -> int:
        return self.bodies

    async def metrics(self, *, timeout: float) -> Exposition | None:
        return None

    async def wait_lost(self) -> str:
        return await self._losses.get()

    async def answer(self, name: str) -> int:
        """What a prediction of the loaded model says; one under way ends also when the model is unloaded."""
        script = self._loaded[name]
        self.present[name] += 1
        try:
            await self._sleep(script.thinks)
        finally:
            self.present[name] -= 1
        return script.answer

    def crash(self, code: int = -9) -> None:
        """The process ends by itself."""
        self._end(code)

    def lose(self, name: str) -> None:
        """The process of this one model ends by itself."""
        assert self.isolated, "models share one process"
        del self._loaded[name]
        self._losses.put_nowait(name)

    async def _looked(
        self, name: str, passed: Mapping[str, int], timeout: float, found: list[bool]
    ) -> None:
        waited = 0.0
        while self.present[name] or self._missing(name, passed):
            if waited >= timeout:
                return
            await self._sleep(_LOOK_SECONDS)
            waited += _LOOK_SECONDS
        found.append(True)

    def _missing(self, name: str, passed: Mapping[str, int]) -> bool:
        return any(self.arrived[name, gateway] < count for gateway, count in passed.items())

    async def _settled(self, name: str, passed: Mapping[str, int]) -> None:
        waited = 0.0
        while self.present[name] or (waited < _MISSING_SECONDS and self._missing(name, passed)):
            await self._sleep(_LOOK_SECONDS)
            waited += _LOOK_SECONDS
        for gateway, count in passed.items():
            self.arrived[name, gateway] = count

    def _presences(self) -> dict[str, Presence]:
        # While a reload runs the old one serves, and the server says so.
        loading = dict.fromkeys(self._loading, Presence.LOADING)
        return loading | dict.fromkeys(self._loaded, Presence.READY)

    def _script(self, model: PreparedModel) -> Script:
        if model.name in self.scripts:
            return self.scripts[model.name]
        path = model.artifact / BEHAVIOUR_FILE
        return Script(**json.loads(path.read_text())) if path.is_file() else Script()

    async def _act(self, script: Script, timeout: float) -> None:
        await self._sleep(script.seconds)
        if script.hang and self.isolated and timeout > self.reserve_seconds:
            await self._sleep(timeout - self.reserve_seconds)
            raise ModelRejected("its load did not end within its time; its process was ended")
        if script.hang:
            await asyncio.get_running_loop().create_future()
        if script.crash and self.isolated:
            raise ModelRejected("its process died while it loaded")
        if script.crash:
            self._end(7)
        if script.fail:
            raise ModelRejected(script.fail)

    async def _within(self, work: Awaitable[None], timeout: float, what: str) -> None:
        """Until it is done, the deadline passed, or the process is gone."""
        exit_ = self._exit
        assert exit_ is not None
        task = asyncio.ensure_future(work)
        try:
            both: set[asyncio.Future[int] | asyncio.Future[None]] = {task, exit_}
            await asyncio.wait(both, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if exit_.done():
                raise ServerUnreachable(f"{what}: the server is gone")
            if not task.done():
                raise ServerUnreachable(f"{what}: no answer within {timeout:g} s")
            task.result()
        finally:
            task.cancel()
            await asyncio.wait({task})
            if not task.cancelled():
                task.exception()

    def _require_running(self) -> None:
        if self._pid is None:
            raise ServerUnreachable("the server is not running")

    def _end(self, code: int) -> None:
        self._pid = None
        self._loaded, self._loading = {}, set()
        self.present.clear()
        self.arrived.clear()
        self.leaked = 0
        while not self._losses.empty():
            self._losses.get_nowait()
        if self._exit is not None and not self._exit.done():
            self._exit.set_result(code)


def _metadata(name: str) -> dict[str, object]:
    return {
        "name": name,
        "versions": [],
        "platform": "",
        "inputs": [],
        "outputs": [],
        "parameters": {},
    }
