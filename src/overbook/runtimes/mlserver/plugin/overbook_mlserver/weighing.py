"""``python -m overbook_mlserver.weighing``: says what a model takes, by loading it where nothing else ever was.

Theory of operation
-------------------
In a server that has loaded and unloaded all day nobody can tell what one model takes: others' garbage lies about, and
holes that they left are filled again. So this process, which has imported what the server imports and does nothing
else, makes a child for each model. The child loads it, brings itself to rest (collected, trimmed), and tells by how
much its anonymous memory has grown, with that of processes which the model started, and what the most was on the way.
Then it ends, whatever the model has done.

A model may be the first to need some part of a framework. In the server that is imported once and stays; so the child
names the modules that came along, and a second child imports them before it begins to measure. Some frameworks also set
themselves up with their first model (ONNX Runtime 1.4 MB, MLflow 1.9): of theirs a second copy is loaded beside the
first, and counts. Not of others, whose second copy fills holes that the first one's garbage left. What a model
allocates at its first request counts as well, once somebody has made one: it comes along with the call.

Calls come as lines of JSON on standard input, ``{"id", "name", "settings", "seconds", "request"}``, with settings and a
request (or null) as MLServer takes them; answers go to standard output, in the order in which they are ready: ``{"id",
"kept", "peak", "warned"}``, in bytes, and in words what frameworks warned of while they loaded it, or ``{"id",
"error"}`` with one line for people, and ``"died": true`` when the load ended the process or did not end. At the end of
its input the process ends.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import copy
import ctypes
import gc
import importlib
import json
import os
import selectors
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from overbook_mlserver import guard, load_warnings

_CHUNK = 65536
# More than this process ever has.
_DESCRIPTORS = 4096
_PR_SET_PDEATHSIG = 1
# Classes whose frameworks set themselves up with their first model.
_SET_UP = ("overbook_mlserver.onnx.", "mlserver_mlflow.")
# What is killed first when the machine runs out of memory.
_OOM_SCORE = 1000
# A third of the processor time of whoever else wants it. With the lowest priority, 14 of 22 models had no weight after
# four minutes on a busy machine, and their sizes were guesses for as long.
_NICENESS = 5
_libc = ctypes.CDLL(None)


@dataclass
class Child:
    """One measurement under way. ``deadline``: on the monotonic clock, in seconds."""

    call: dict[str, Any]
    pid: int
    deadline: float
    first: dict[str, Any] | None
    heard: bytearray = field(default_factory=bytearray)


class Room:
    """The children and the two pipes to whom it serves."""

    def __init__(self, calls: int, answers: int) -> None:
        self._calls = calls
        self._answers = answers
        self._selector = selectors.DefaultSelector()
        self._selector.register(calls, selectors.EVENT_READ)
        self._children: dict[int, Child] = {}
        self._begun = bytearray()

    def serve(self) -> None:
        """Until the input ends."""
        while True:
            for key, _ in self._selector.select(self._patience()):
                if key.fd != self._calls:
                    self._hear(key.fd)
                elif not self._read_calls():
                    for child in self._children.values():
                        _kill(child.pid)
                    return
            for pipe, child in list(self._children.items()):
                if child.deadline <= time.monotonic():
                    self._end(pipe, late=True)

    def _patience(self) -> float | None:
        if not self._children:
            return None
        return max(0.0, min(each.deadline for each in self._children.values()) - time.monotonic())

    def _read_calls(self) -> bool:
        found = os.read(self._calls, _CHUNK)
        self._begun += found
        *lines, rest = self._begun.split(b"\n")
        self._begun = bytearray(rest)
        for line in lines:
            self._fork(json.loads(line), first=None)
        return bool(found)

    def _fork(self, call: dict[str, Any], first: dict[str, Any] | None) -> None:
        readable, writable = os.pipe()
        modules = first["modules"] if first else []
        pid = os.fork()
        if not pid:
            # The pipes are not a model's to write to.
            os.closerange(3, writable)
            os.closerange(writable + 1, _DESCRIPTORS)
            _be_child(
                writable,
                lambda: weigh(call["name"], call["settings"], modules, call.get("request")),
            )
        os.close(writable)
        deadline = time.monotonic() + float(call["seconds"])
        self._children[readable] = Child(call, pid, deadline, first)
        self._selector.register(readable, selectors.EVENT_READ)

    def _hear(self, pipe: int) -> None:
        found = os.read(pipe, _CHUNK)
        if found:
            self._children[pipe].heard += found
        else:
            self._end(pipe, late=False)

    def _end(self, pipe: int, *, late: bool) -> None:
        child = self._children.pop(pipe)
        self._selector.unregister(pipe)
        os.close(pipe)
        # With all that it started: nothing of a model may be left.
        _kill(child.pid)
        _, status = os.waitpid(child.pid, 0)
        answer = _answer(child, status, late)
        if answer.get("modules") and child.first is None:
            self._fork(child.call, answer)
            return
        answer.pop("modules", None)
        line = json.dumps({**answer, "id": child.call["id"]}) + "\n"
        _write_all(self._answers, line.encode())


def _answer(child: Child, status: int, late: bool) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(bytes(child.heard))
        return found
    except ValueError:
        pass
    if late:
        told = f"the load did not end within {float(child.call['seconds']):g} s"
    elif os.WIFSIGNALED(status) and os.WTERMSIG(status) != signal.SIGKILL:
        told = f"the load ended its process: {signal.Signals(os.WTERMSIG(status)).name}"
    else:
        told = f"the load ended its process: exit code {os.waitstatus_to_exitcode(status)}"
    return {"error": told, "died": True}


def weigh(
    name: str, raw: dict[str, Any], modules: list[str], request: dict[str, Any] | None
) -> dict[str, Any]:
    """Load the model here and say what that took. Raises what the load raises.

    ``modules`` are imported before anything is measured; ``request`` is asked after the load. Returns, in bytes,
    ``kept`` and ``peak``, in ``warned`` what was warned of, and in ``modules`` the names of those that the load
    imported, but for the model's own.
    """
    for module in modules:
        with contextlib.suppress(Exception):
            importlib.import_module(module)
    known = set(sys.modules)
    # One loop for all: a model may bind what it makes to the loop that loads it.
    runner = _runner()
    before = _at_rest()
    _forget_peak()
    with load_warnings.gathering() as warned:
        model = _load_here(runner, name, raw)
    peak = _peak() - before
    _ask(runner, model, request)
    loaded = _at_rest()
    kept, came = loaded - before, [each for each in sys.modules if each not in known]
    if model.settings.implementation_.startswith(_SET_UP):
        again = _load_here(runner, name, raw)
        _ask(runner, again, request)
        kept, came = min(kept, _at_rest() - loaded), []
        del again
    del model
    return {
        "kept": max(0, kept),
        "peak": max(0, kept, peak),
        "warned": warned,
        "modules": [each for each in came if not _own(each)],
    }


def _runner() -> asyncio.Runner:
    """Never closed: it would wait for what a model has left running, and the process ends soon."""
    return asyncio.Runner(loop_factory=asyncio.SelectorEventLoop)


def _ask(runner: asyncio.Runner, model: Any, request: dict[str, Any] | None) -> None:
    """The answer is nobody's, nor is a failure."""
    if request is None:
        return
    from mlserver.context import model_context
    from mlserver.types import InferenceRequest

    with contextlib.suppress(Exception), model_context(model.settings):
        runner.run(model.predict(InferenceRequest.model_validate(request)))


def _load_here(runner: asyncio.Runner, name: str, raw: dict[str, Any]) -> Any:
    from overbook_mlserver.repository import given_settings

    return runner.run(_load(given_settings(name, copy.deepcopy(raw))))


async def _load(settings: Any) -> Any:
    from overbook_mlserver import input_decoding
    from overbook_mlserver.offload import LoadFailed

    model = settings.implementation(settings)
    ready = await model.load()
    if not ready:
        raise LoadFailed(f"load() of {type(model).__name__} returned {ready!r}, expected True")
    input_decoding.install(model)
    return model


def _own(module: str) -> bool:
    return module.startswith("_overbook_models")


def _at_rest() -> int:
    """Bytes of anonymous memory of this process once nothing is left that could be given back, and of all that it
    started.
    """
    gc.collect()
    _libc.malloc_trim(0)
    return sum(_anonymous(pid) for pid in [os.getpid(), *_started_by(os.getpid())])


def _anonymous(pid: int) -> int:
    """Bytes; of what processes share, each one's part. 0 when it has ended."""
    # This process shares with the one that made it, and would share less with every page that it touches.
    label = b"Anonymous:" if pid == os.getpid() else b"Pss_Anon:"
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as file:
            return next(int(line.split()[1]) for line in file if line.startswith(label)) * 1024
    except (OSError, StopIteration):
        return 0


def _started_by(root: int) -> list[int]:
    """The descendants of a process."""
    parents: dict[int, int] = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/stat", "rb") as file:
            parents[int(name)] = int(file.read().rpartition(b")")[2].split()[1])
    found = [root]
    for each in found:
        found += [pid for pid, parent in parents.items() if parent == each]
    return found[1:]


def _forget_peak() -> None:
    with open("/proc/self/clear_refs", "wb") as file:
        file.write(b"5")


def _peak() -> int:
    """Bytes, since `_forget_peak`, without the pages of files."""
    with open("/proc/self/status", "rb") as file:
        found = dict(line.split(b":", 1) for line in file)
    of_files = int(found[b"RssFile"].split()[0]) + int(found[b"RssShmem"].split()[0])
    return (int(found[b"VmHWM"].split()[0]) - of_files) * 1024


def _be_child(pipe: int, work: Callable[[], dict[str, Any]]) -> NoReturn:
    """Do the work, tell the result, and end without a look back."""
    from overbook_mlserver.offload import describe

    answer: dict[str, Any]
    try:
        # Not a session of its own: see `_give_way`.
        os.setpgid(0, 0)
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
            file.write(str(_OOM_SCORE))
        answer = work()
    except Exception as error:
        answer = {"error": describe(error)}
    except BaseException as error:
        answer = {"error": f"the load ended its process: {describe(error)}", "died": True}
    _write_all(pipe, json.dumps(answer).encode())
    os._exit(0)


def _write_all(to: int, data: bytes) -> None:
    while data:
        data = data[os.write(to, data) :]


def _kill(pid: int) -> None:
    # Both: before it leads a group of its own, there is none of that number.
    for end in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError):
            end(pid, signal.SIGKILL)


def _give_way() -> None:
    """Whoever waits for an answer goes before a weight."""
    os.nice(_NICENESS)
    # Where the kernel groups processes by their sessions, a number counts only within one.
    with contextlib.suppress(OSError), open("/proc/self/autogroup", "w") as file:
        file.write(str(_NICENESS))


def _answer_something() -> None:
    """The first answer of all costs a process 0.1 MB, whichever model gives it."""
    from mlserver.settings import ModelSettings
    from mlserver_sklearn import SKLearnModel
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.linear_model import LogisticRegression

    rows, labels = [[0.0, 1.0], [1.0, 0.0]], [0, 1]
    request = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP64", "data": [0.0, 1.0]}]}
    runner = _runner()
    for estimator in (LogisticRegression(), RandomForestClassifier(1)):
        model = SKLearnModel(ModelSettings(name="first", implementation=SKLearnModel))
        model._model = estimator.fit(rows, labels)
        _ask(runner, model, request)


def _main() -> None:
    parser = argparse.ArgumentParser(prog="overbook_mlserver.weighing")
    parser.add_argument("--parent-fd", type=int, required=True, help="closes when the agent dies")
    arguments = parser.parse_args()
    sys.dont_write_bytecode = True
    _give_way()
    guard.no_new_privileges()
    guard.exit_with_parent(arguments.parent_fd)
    answers = os.dup(1)
    # What models print is no answer.
    os.dup2(2, 1)
    calls = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)

    from overbook_mlserver import frameworks, module_spaces

    module_spaces.install()
    frameworks.import_all()
    load_warnings.install()
    importlib.import_module("overbook_mlserver.repository")
    importlib.import_module("overbook_mlserver.registry")
    _answer_something()
    gc.collect()
    # Children that touch what they do not own copy it.
    gc.freeze()
    Room(calls, answers).serve()


if __name__ == "__main__":
    _main()
