"""Which models the demo trains, for whom, and how what is known of each is written down. Standard library only:
the trainers run in environments of their own and import nothing of Overbook.

A trainer is called ``python TRAINER.py OUT MODELS SEED``. It writes OUT/models/NAME/… and OUT/expected/NAME.json
(requests, and what this very model answered before it was saved) for those of the models that are of its kinds,
and prints one JSON object a line for each that is finished.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

# One thread each: two models are trained at a time, and the answers shall not depend on the cores.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

CUSTOMERS = (
    "acorn", "basalt", "cobalt", "dahlia", "ember", "fjord", "ginkgo", "harbor", "indigo", "juniper",
    "kestrel", "lagoon", "meadow", "nimbus", "orchid", "pepper", "quartz", "raven", "saffron",
    "tundra", "umber", "velvet", "willow", "xenon", "yarrow", "zephyr", "amber", "birch", "cedar",
    "drift", "echo", "falcon", "garnet", "hazel", "ivory", "jasper", "kelp", "lilac", "maple", "north",
)  # fmt: skip
# Of ten customers. "onnx-triton" is an ONNX model that asks for Triton; others go where it is cheaper.
_KINDS = (
    "sklearn", "sklearn", "lightgbm", "sklearn", "onnx",
    "sklearn", "tensorflow", "sklearn", "sklearn", "onnx-triton",
)  # fmt: skip
REQUESTS_PER_MODEL = 12
WORKERS = 2


class Order(NamedTuple):
    """One model to train. ``turn``: which of its kind it is, from 0."""

    number: int
    name: str
    kind: str
    turn: int


class Trained(NamedTuple):
    """What a trainer tells of a model. ``bytes``: its files; ``inputs`` of each case: rows of numbers."""

    framework: str
    kind: str
    data: str
    bytes: int
    requirements: Sequence[str]
    tensor: str
    datatype: str
    cases: Sequence[dict[str, object]]


def orders(count: int) -> list[Order]:
    """``count`` models; a customer's second one gets a number."""
    turns: dict[str, int] = {}
    found = []
    for number in range(count):
        kind = _KINDS[number % len(_KINDS)]
        turn = turns.get(kind, 0)
        turns[kind] = turn + 1
        again = number // len(CUSTOMERS)
        name = f"{CUSTOMERS[number % len(CUSTOMERS)]}-{kind.partition('-')[0]}"
        found.append(Order(number, f"{name}-{again + 1}" if again else name, kind, turn))
    return found


def write(out: Path, order: Order, trained: Trained) -> dict[str, object]:
    """Note what is to be expected of the model; what a finished model prints."""
    entry: dict[str, object] = {"name": order.name, **trained._asdict()}
    cases = entry.pop("cases")
    path = out / "expected" / f"{order.name}.json"
    path.write_text(json.dumps({**entry, "cases": cases}))
    return {"name": order.name, "kind": trained.kind}


def size_of(folder: Path) -> int:
    """Bytes of all files below."""
    return sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())


def main(kinds: frozenset[str], train: Callable[[Path, Order, int], dict[str, object]]) -> None:
    """Run a trainer: what it does with an order of one of its kinds and a seed."""
    out, count, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    (out / "expected").mkdir(parents=True, exist_ok=True)
    mine = [order for order in orders(count) if order.kind in kinds]
    # Forked after the imports, which take longer than most of the models.
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("fork")) as pool:
        jobs: list[Any] = [pool.submit(train, out, order, seed) for order in mine]
        for job in as_completed(jobs):
            print(json.dumps(job.result()), flush=True)
