"""What models measure, in MLServer's own environment: prints what `test_mlserver_books.py` looks at, as JSON.

python books.py PLUGIN_FOLDER
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading

sys.path.insert(0, sys.argv[1])

import mlserver
import mlserver.metrics
import prometheus_client
from mlserver.context import model_context
from mlserver.settings import ModelParameters, ModelSettings
from overbook_mlserver.books import Books
from prometheus_client import REGISTRY, Counter, Gauge

released = threading.Event()


def settings(name: str) -> ModelSettings:
    return ModelSettings(
        name=name, implementation="mlserver.model.MLModel", parameters=ModelParameters()
    )


def load(books: Books, name: str, kind: type = Counter) -> None:
    """As a model's file does it that is imported at each load."""
    with books.opened() as book:
        kind("rows", "Rows.").inc()
        mlserver.register("size", "Sizes.")
    books.begin(name, book)


def ask(name: str) -> None:
    with model_context(settings(name)):
        mlserver.log(size=1.0)


def lines(shown: dict[str, object] | None) -> list[str]:
    assert shown is not None
    return [
        line
        for line in str(shown["text"]).splitlines()
        if line.startswith(("rows", "size_sum", "late"))
    ]


async def main() -> None:
    before = prometheus_client.generate_latest(REGISTRY)
    books, found = Books(), {}
    load(books, "one")
    load(books, "gauge", Gauge)
    load(books, "one")
    found["replaced"] = lines(books.take_left("one"))
    for name in ("one", "one", "gauge"):
        ask(name)
    try:
        with books.opened():
            raise ValueError("it cannot be loaded")
    except ValueError:
        pass
    books.of("one").asked(0.5, failed=True)
    shown = await books.shown()
    found["shown"] = {name: lines(each) for name, each in shown.items()}
    found["requests"] = [
        line for line in shown["one"]["text"].splitlines() if line.startswith("model_infer")
    ]
    books.end("gauge")
    found["left"] = [lines(books.take_left("gauge")), books.take_left("gauge")]
    ask("gauge")  # a request that outlives its model
    with model_context(settings("gauge")):
        Counter("late", "Nobody's.").inc()
    load(books, "gauge", Gauge)
    found["again"] = lines((await books.shown())["gauge"])

    with books.opened() as book:
        Gauge("waits", "It hangs.").set_function(lambda: released.wait() and 1.0)
    books.begin("hangs", book)
    found["hangs"] = []
    for _ in range(2):
        shown = await books.shown()
        found["hangs"].append([sorted(shown), shown.get("hangs", {}).get("dropped")])
    released.set()
    while book.hanging:  # noqa: ASYNC110  a thread ends that
        await asyncio.sleep(0.01)
    found["released"] = "waits 1.0" in (await books.shown())["hangs"]["text"]
    after = prometheus_client.generate_latest(REGISTRY)
    found["none for all"] = [after.count(b"# TYPE") - before.count(b"# TYPE")]
    found["none for all"].append(len(mlserver.metrics.REGISTRY._collector_to_names))
    print(json.dumps(found))


asyncio.run(main())
