"""What a model takes, told by a process that holds nothing else. Runs in MLServer's environment.

    python fresh_process.py ORDERS ANSWERS

ORDERS: JSON, ``{"repeats": 3, "models": [{"settings": a model-settings.json, "request": {…}, "primer": {"settings": …,
"request": …} or null}, …]}``. ANSWERS: a file that gets one line of JSON for each model, in their order.

Nothing of Overbook measures here: it is what Overbook is measured by. Only the list of what the server imports at its
start is taken from the server's own package, and the classes that serve models.

How: this process imports what the server imports, and then has a child of its own, made by fork, for every single
measurement. A child is measured against itself, before and after, so what it shares with its parent is in neither
number; and each begins with a heap on which no model ever was. A first child loads the model only to see which modules
that brings in; those are imported before the measurement in the children that count, as code is no model's memory:
the second model of a kind does not import it again. For the same reason a primer, a tiny model of the same kind, is
loaded and asked before: a framework sets things up with its first model (1.3 MB in ONNX Runtime) that no other takes
again. What the model would take without one is told beside it. At rest means: garbage collected, and free memory
handed back to the kernel.
"""

from __future__ import annotations

import asyncio
import copy
import ctypes
import gc
import importlib
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlserver.context import model_context
from mlserver.settings import ModelSettings
from mlserver.types import InferenceRequest

_SMAPS = Path("/proc/self/smaps_rollup")
_LIBC = ctypes.CDLL(None)


def anonymous() -> int:
    """Bytes of this process that are not pages of files."""
    for line in _SMAPS.read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"{_SMAPS}: no line Anonymous; expected one in kB")


def at_rest() -> int:
    """The same once nothing is held that need not be."""
    # What the first collection frees may have had finalisers.
    gc.collect()
    gc.collect()
    _LIBC.malloc_trim(0)
    return anonymous()


class Loaded:
    """A model as MLServer holds it: made of its settings, loaded, asked."""

    def __init__(self, raw: dict[str, Any], runner: asyncio.Runner) -> None:
        given = copy.deepcopy(raw)
        folder = given.pop("overbook")["folder"]
        # What MLServer does while it imports a model's class, here for good: nobody else lives in this process.
        sys.path.insert(0, folder)
        settings = ModelSettings.model_validate(
            {**given, "_source": os.path.join(folder, "model-settings.json")}
        )
        self._runner = runner
        self.model = settings.implementation(settings)
        with model_context(settings):
            if not runner.run(self.model.load()):
                raise RuntimeError(f"model {settings.name}: load() did not return True")

    def ask(self, request: str) -> list[Any]:
        """The data of the first output."""
        with model_context(self.model.settings):
            answer = self._runner.run(
                self.model.predict(InferenceRequest.model_validate_json(request))
            )
        return list(answer.outputs[0].data)


def new_modules(order: dict[str, Any], runner: asyncio.Runner) -> list[str]:
    """What a load and an inference import, without the model's own code."""
    before = set(sys.modules)
    Loaded(order["settings"], runner).ask(json.dumps(order["request"]))
    folder = order["settings"]["overbook"]["folder"]
    return [
        name
        for name, module in list(sys.modules.items())
        if name not in before and not (getattr(module, "__file__", None) or "").startswith(folder)
    ]


def measured(
    order: dict[str, Any], modules: list[str], primer: dict[str, Any] | None, runner: asyncio.Runner
) -> dict[str, Any]:
    """Bytes that it takes after the load, and after one inference; and the answer."""
    for name in modules:
        # Some exist only once others were imported; those come with them.
        try:
            importlib.import_module(name)
        except ImportError:
            continue
    held = []
    if primer is not None:
        held.append(Loaded(primer["settings"], runner))
        held[0].ask(json.dumps(primer["request"]))
    request = json.dumps(order["request"])
    at_rest()
    empty = at_rest()
    held.append(Loaded(order["settings"], runner))
    loaded = at_rest()
    answer = held[-1].ask(request)
    asked = at_rest()
    return {
        "loaded": loaded - empty,
        "asked": asked - empty,
        "answer": [each.decode() if isinstance(each, bytes) else each for each in answer],
    }


def in_child(work: Callable[[asyncio.Runner], Any]) -> Any:
    """Run it in a fork of this process; its result. Raises RuntimeError with what it raised."""
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(readable)
        with os.fdopen(writable, "w") as pipe:
            try:
                with asyncio.Runner() as runner:
                    runner.run(asyncio.sleep(0))
                    result = {"result": work(runner)}
            except BaseException:
                result = {"error": traceback.format_exc()}
            json.dump(result, pipe)
        os._exit(0)
    os.close(writable)
    with os.fdopen(readable) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    said = json.loads(text) if text else {"error": "its process died"}
    if "error" in said:
        raise RuntimeError(said["error"])
    return said["result"]


def judge(order: dict[str, Any], repeats: int) -> dict[str, Any]:
    def one(primer: dict[str, Any] | None) -> dict[str, Any]:
        found: dict[str, Any] = in_child(lambda runner: measured(order, modules, primer, runner))
        return found

    name = order["settings"]["name"]
    try:
        modules = in_child(lambda runner: new_modules(order, runner))
        found = [one(order["primer"]) for _ in range(repeats)]
        unprimed = one(None)
    except RuntimeError as error:
        return {"name": name, "error": str(error)}
    return {
        "name": name,
        "answer": found[0]["answer"],
        "loaded": [each["loaded"] for each in found],
        "asked": [each["asked"] for each in found],
        "first": [unprimed["asked"]],
    }


def main(orders: Path, answers: Path) -> None:
    # Models' folders are not ours to write into.
    sys.dont_write_bytecode = True
    # The server's own list of what it has imported before the first load.
    importlib.import_module("overbook_mlserver.frameworks").import_all()
    # As the server does: the collector need not walk it, and children need no copies of pages that it writes to.
    gc.collect()
    gc.freeze()
    given = json.loads(orders.read_text())
    with answers.open("w") as file:
        for order in given["models"]:
            print(json.dumps(judge(order, given["repeats"])), file=file, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
