"""`overbook demo` from the first step to the exit code: environment, training, start, traffic, summary, stop."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import shutil
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.live import Live

from overbook.demo.cases import DemoModel, load_models
from overbook.demo.environment import TRAINING
from overbook.demo.options import DemoOptions
from overbook.demo.screen import View, frame, mib, plain_line, summary
from overbook.demo.steps import Steps
from overbook.demo.system import HOST, Plan, System, SystemFailed, free_port, manifests, plan
from overbook.demo.tally import Traffic
from overbook.demo.traffic import CLIENTS, Target, send
from overbook.demo.training import Course, Trainer, TrainingFailed, is_trained, train
from overbook.demo.watching import Watcher
from overbook.demo.workload import Workload
from overbook.machine.folders import StateUnusable
from overbook.machine.home import state_folder
from overbook.runtimes.install import RuntimeInstallError, environment, install, install_environment

# With the extras that its models need, beside those that every installation has.
_RUNTIMES: Final = {"mlserver": frozenset({"lightgbm"}), "triton": frozenset({"tensorflow"})}
# Which environment each trainer runs in.
_TRAINERS: Final = {
    "estimators.py": "mlserver",
    "networks.py": TRAINING.name,
    "saved_models.py": "triton",
}
_FRAMES_PER_SECOND: Final = 3
_LINE_EVERY_SECONDS: Final = 5.0
_RATE_WINDOW_SECONDS: Final = 3.0
# Usage is read from Envoy about once a second; the last requests must be in the last look.
_SETTLE_SECONDS: Final = 1.5


class DemoFailed(Exception):
    """The demo could not run to its end; one line for people."""


def run_demo(options: DemoOptions) -> int:
    """Run all of it; blocks. The exit code: 0 when no request failed and nothing was left behind."""
    console = Console()
    try:
        own = options.state_dir
        base = state_folder(None) / "demo" if own is None else state_folder(own)
        base.mkdir(parents=True, exist_ok=True)
        with _alone(base), _terminated_as_interrupted():
            return _Demo(options, base, console).run()
    except KeyboardInterrupt:
        console.print("stopped before the end", highlight=False)
    except (
        DemoFailed,
        SystemFailed,
        TrainingFailed,
        RuntimeInstallError,
        StateUnusable,
        OSError,
    ) as error:
        print(f"error: {error}", file=sys.stderr)
    return 1


class _Demo:
    def __init__(self, options: DemoOptions, base: Path, console: Console) -> None:
        self._options = options
        self._base = base
        self._console = console
        self._steps = Steps(console)
        self._traffic = Traffic()

    def run(self) -> int:
        models = self._models()
        memory = plan(models)
        self._steps.say(
            f"{len(models)} models; "
            + "; ".join(
                f"those for {name} need {mib(each.needed)}, it may use {mib(each.budget)}"
                for name, each in memory.items()
            )
        )
        state_dir = self._base / "run"
        shutil.rmtree(state_dir, ignore_errors=True)
        system = self._system(state_dir)
        manifest = self._base / "manifests.yaml"
        manifest.write_text(manifests(models, memory))
        try:
            with self._steps.step("Starting Overbook") as update:
                system.start(manifest)
                system.wait_ready(lambda seconds: update(f"{seconds:.0f} s", None))
            view = asyncio.run(self._show(system, models, memory))
        finally:
            with _uninterrupted(), self._steps.step("Stopping Overbook"):
                system.stop()
            if not self._options.keep:
                shutil.rmtree(state_dir, ignore_errors=True)
        return self._conclude(view, state_dir)

    def _models(self) -> tuple[DemoModel, ...]:
        """The environment and the trained models, made when they are not there."""
        for name, extras in _RUNTIMES.items():
            with self._steps.step(f"Environment of {name}") as update:
                install(name, update, extras=extras)
        trainers = []
        for script, name in _TRAINERS.items():
            if name == TRAINING.name:
                with self._steps.step("Environment for making ONNX models") as update:
                    python = install_environment(TRAINING, update) / "bin" / "python"
            else:
                python = environment(name).python
            trainers.append(Trainer(script, python))
        course = Course(trainers, models=self._options.models, seed=self._options.seed)
        folder = course.folder(self._base)
        if is_trained(folder):
            self._steps.say(f"Models: trained before, in {folder}")
        else:
            with self._steps.step(f"Training {course.models} models") as update:
                train(course, self._base, progress=update)
        return load_models(folder, host=HOST)

    def _system(self, state_dir: Path) -> System:
        port = free_port(self._options.port)
        api_port = free_port(self._options.api_port)
        for name, wish, got in (
            ("port", self._options.port, port),
            ("api port", self._options.api_port, api_port),
        ):
            if got != wish:
                self._steps.say(f"{name} {wish} is taken; using {got}")
        return System(
            state_dir=state_dir, port=port, api_port=api_port, log=self._base / "overbook.out"
        )

    async def _show(
        self, system: System, models: tuple[DemoModel, ...], memory: Mapping[str, Plan]
    ) -> View:
        """The traffic, seen live. Raises SystemFailed when Overbook ends meanwhile."""
        by_name = {model.name: model for model in models}
        workload = Workload(tuple(by_name), seed=self._options.seed)
        watcher = Watcher(system.api_url)
        screen = _Screen(
            console=self._console,
            traffic=self._traffic,
            watcher=watcher,
            models=by_name,
            needed=sum(each.needed for each in memory.values()),
            seconds=self._options.seconds,
        )
        over = asyncio.Event()
        self._steps.say(
            f"Traffic for {self._options.seconds:g} s from {CLIENTS} clients, REST and gRPC, "
            f"to http://{HOST}:{system.port}"
        )
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(watcher.run(over), name="demo watcher")
                group.create_task(screen.run(over, check=system.check), name="demo screen")
                await send(
                    Target(HOST, system.port),
                    workload,
                    by_name,
                    self._traffic,
                    seconds=self._options.seconds,
                )
                over.set()
            view = screen.view()
            await asyncio.sleep(_SETTLE_SECONDS)
            return replace(view, seen=await watcher.look())
        except* SystemFailed as group_error:
            raise SystemFailed(str(group_error.exceptions[0])) from None
        finally:
            watcher.close()

    def _conclude(self, view: View, state_dir: Path) -> int:
        self._console.print(summary(view))
        for problem in view.traffic.first_problems:
            self._steps.say(f"  {problem}")
        if self._options.keep:
            self._steps.say(
                f"State kept in {state_dir}; see it with: overbook up --state-dir {state_dir}"
            )
        over_budget = view.seen.over_budget
        if over_budget:
            print("error: charged bytes were above the budget", file=sys.stderr)
        if not view.traffic.requests:
            raise DemoFailed("not one request was sent; ask for more --seconds")
        return 1 if view.traffic.failed or over_budget else 0


class _Screen:
    """Draws what is known now: a live table on a terminal, else a line now and then."""

    def __init__(
        self,
        *,
        console: Console,
        traffic: Traffic,
        watcher: Watcher,
        models: Mapping[str, DemoModel],
        needed: int,
        seconds: float,
    ) -> None:
        self._console = console
        self._traffic = traffic
        self._watcher = watcher
        self._models = models
        self._needed = needed
        self._seconds = seconds
        self._begun = time.monotonic()
        self._recent: deque[tuple[float, int]] = deque([(self._begun, 0)])

    def view(self) -> View:
        now = time.monotonic()
        self._recent.append((now, self._traffic.requests))
        while len(self._recent) > 2 and self._recent[0][0] < now - _RATE_WINDOW_SECONDS:
            self._recent.popleft()
        then, requests = self._recent[0]
        return View(
            models=self._models,
            needed=self._needed,
            elapsed=now - self._begun,
            seconds=self._seconds,
            rate=(self._traffic.requests - requests) / max(now - then, 1e-6),
            traffic=self._traffic,
            seen=self._watcher.seen,
        )

    async def run(self, until: asyncio.Event, *, check: Callable[[], None]) -> None:
        """Draw until told to stop; `check` raises when there is nothing left to watch."""
        terminal = self._console.is_terminal
        pause = 1.0 / _FRAMES_PER_SECOND if terminal else _LINE_EVERY_SECONDS
        with contextlib.ExitStack() as stack:
            live: Live | None = None
            if terminal:
                live = Live(console=self._console, auto_refresh=False, transient=True)
                stack.enter_context(live)
            while not until.is_set():
                check()
                if live is not None:
                    live.update(frame(self.view()), refresh=True)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await until.wait()
                if live is None:
                    self._console.print(plain_line(self.view()), highlight=False, soft_wrap=True)


@contextlib.contextmanager
def _alone(base: Path) -> Iterator[None]:
    """One demo at a time in a folder."""
    with (base / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoFailed(
                f"another demo runs in {base}; wait for it, or choose another --state-dir"
            ) from None
        yield


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM ends the demo as Ctrl-C does: in order."""
    # A shell starts what a script puts in the background with SIGINT ignored, and Python leaves it so.
    interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)
    before = signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGINT, interrupt)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Stopping is bounded in time; a second Ctrl-C must not leave half of it running."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
