"""A control API and REST data plane on a real loopback socket, with state in memory, for client and CLI tests.

It answers as the control API describes itself, or the test fails at its end; it refuses what it does not know, and
closes kept connections when told to.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from overbook.client.http import Json, JsonObject
from tests.unit.scheduler.described import description

# An inference request that its data plane answers.
REQUEST: JsonObject = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "data": [1.5, 2.5]}]
}

# How far the fetch of a model's files is, as a replica of it says.
TRANSFER: JsonObject = {
    "done": 2**29,
    "total": 5 * 2**28,
    "bytesPerSecond": 118.0 * 2**20,
    "secondsLeft": 6.5,
}


def condition(kind: str, status: str, reason: str, message: str) -> JsonObject:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": "2026-01-02T03:00:00Z",
    }


def model(
    name: str, *, ready: bool = True, reason: str = "ModelAvailable", message: str = ""
) -> JsonObject:
    """A model as `GET /models/NAME` gives it, resident on mlserver/0 when ready."""
    replica: JsonObject = {
        "server": "mlserver",
        "replica": 0,
        "state": "resident" if ready else "failed",
        "bytes": {"declared": 102400, "measured": None, "charged": 102400 if ready else 0},
        "lastUsed": "2026-01-02T03:04:05Z" if ready else None,
        "inFlight": 2,
        "loads": 3,
        "evictions": 1,
        "lastError": None if ready else message,
        "retryAt": None,
        "unverified": None,
        "warnings": ["saved with an older version"] if ready else [],
        "filesOnDisk": ready,
        "transfer": None,
    }
    standing = condition("ModelReady", "True" if ready else "False", reason, message)
    return {
        "apiVersion": "overbook.dev/v1alpha1",
        "kind": "Model",
        "metadata": {"name": name, "generation": 1},
        "spec": {
            "storageUri": f"/models/{name}",
            "requirements": ["sklearn"],
            "memory": "100Ki",
            "pinned": False,
            "priority": 0,
        },
        "status": {"conditions": [standing], "final": False, "replicas": [replica]},
    }


def fetched(name: str, **transfer: Json) -> JsonObject:
    """A new model, the files of which are fetched."""
    thing = model(name, ready=False, reason="ModelProgressing", message="0 of 1 available")
    status, spec = thing["status"], thing["spec"]
    assert isinstance(status, dict)
    assert isinstance(spec, dict)
    assert isinstance(status["replicas"], list)
    (replica,) = status["replicas"]
    assert isinstance(replica, dict)
    replica |= {"state": "cold", "lastError": None, "transfer": {**TRANSFER, **transfer}}
    spec["storageUri"] = f"s3://models/{name}"
    return thing


def server(
    name: str, *, rest: str | None = "127.0.0.1:39001", grpc: str | None = "127.0.0.1:39002"
) -> JsonObject:
    """A server as `GET /servers/NAME` gives it. ``rest``, ``grpc``: where its replica listens, None before it does."""
    replica: JsonObject = {
        "replica": 0,
        "state": "ready",
        "address": {"rest": rest, "grpc": grpc},
        "pid": 4242,
        "bytes": {
            "budget": 2**31,
            "registered": 3 * 2**30,
            "resident": 2**30,
            "process": 2**30 + 2**28,
            "base": 2**28,
        },
        "models": {"registered": 40, "resident": 12},
        "foreignModels": [],
        "disk": {"used": 5 * 2**28, "coming": 2**29, "firm": 300 * 2**20, "budget": 10 * 2**30},
    }
    standing = condition("Ready", "True", "ServerReady", "1 of 1 replicas ready")
    return {
        "apiVersion": "overbook.dev/v1alpha1",
        "kind": "Server",
        "metadata": {"name": name, "generation": 1},
        "spec": {"serverConfig": "mlserver", "replicas": 1, "memory": "2Gi"},
        "status": {"conditions": [standing], "replicas": [replica]},
    }


def event(seq: int, name: str) -> JsonObject:
    """A model's event, as `GET /events` gives it."""
    return {
        "seq": seq,
        "time": "2026-01-01T00:00:00Z",
        "type": "Normal",
        "reason": "ModelLoaded",
        "kind": "Model",
        "name": name,
        "replica": "mlserver/0",
        "message": "in 14 ms",
    }


def verdict(name: str) -> JsonObject:
    """Why a model has no place, as `GET /models/NAME/describe` gives it."""
    refused: JsonObject = {
        "server": "mlserver",
        "replica": 1,
        "chosen": False,
        "rule": "NoRoom",
        "reason": "needs 1M, only 500k of 12M left",
        "bytes": {"registered": 11_500_000, "limit": 12_000_000, "budget": 10_000_000},
        "models": 11,
    }
    return {
        "model": name,
        "bytes": 1_000_000,
        "wanted": 1,
        "needed": 1,
        "placed": False,
        "reason": "no server replica has room",
        "replicas": [refused],
    }


def audited(seq: int, name: str, **fields: Json) -> JsonObject:
    """What somebody did to a model, as `GET /audit` gives it."""
    return {
        "seq": seq,
        "time": "2026-01-02T03:04:05.678Z",
        "request": "0123456789ab",
        "who": "token",
        "token": "me",
        "role": "admin",
        "address": "local",
        "call": f"DELETE /api/v1/models/{name}",
        "verb": "delete",
        "status": 200,
        "unchanged": 0,
        "kind": "Model",
        "name": name,
        "before": 3,
        "after": None,
        "outcome": "done",
        "lost": 0,
        **fields,
    }


def token(
    name: str, role: str, *models: str, expires: str | None = None, used: str | None = None
) -> JsonObject:
    """A token as `GET /tokens` gives it."""
    return {
        "name": name,
        "role": role,
        "models": [*models],
        "created": "2026-01-02T03:04:05Z",
        "expires": expires,
        "requestsPerSecond": None,
        "waiting": None,
        "lastUsed": used,
    }


class FakeOverbook:
    """What the handler serves and what it was asked. Set fields before the calls that need them.

    ``verdict``: of every model; ``registered``: on replica 0 of every server. ``faults``: where an answer was not as
    described, but for those in ``raw``. ``page``: entries of the audit log in one answer.
    """

    def __init__(self) -> None:
        self.url = ""
        self.objects: dict[str, dict[str, JsonObject]] = {
            "models": {},
            "servers": {},
            "secrets": {},
            "tokens": {},
        }
        self.events: list[JsonObject] = []
        self.audited: list[JsonObject] = []
        self.page = 1000
        self.verdict: JsonObject = verdict("iris")
        self.registered: list[Json] = []
        self.faults: list[str] = []
        self.refusals: dict[str, tuple[int, str]] = {}
        self.apply_errors: dict[str, str] = {}
        self.unplaced: dict[str, str] = {}
        self.apply_warnings: dict[str, list[Json]] = {}
        self.becomes_ready: dict[str, JsonObject] = {}
        self.warnings: list[str] = []
        self.logs: dict[str, list[list[Json]]] = {}
        self.headers: list[dict[str, str]] = []
        self.ready = True
        self.requests: list[tuple[str, str, Json]] = []
        self.raw: dict[str, tuple[int, bytes]] = {}
        self.close_after_next = False

    def add(self, *things: JsonObject) -> None:
        for thing in things:
            metadata = thing["metadata"]
            assert isinstance(metadata, dict)
            self.objects[f"{thing['kind']}s".lower()][str(metadata["name"])] = thing

    def answer(self, method: str, target: str, body: Json) -> tuple[int, Json]:
        parts = urlsplit(target)
        steps = [step for step in parts.path.split("/") if step]
        if steps[:1] == ["v2"]:
            return self._infer(steps[2], body) if method == "POST" else self._metadata(steps[2])
        match (method, steps[2:]):
            case ("GET", ["version"]):
                return 200, {"version": "9.8.7"}
            case ("POST", ["apply" | "validate"]):
                return 200, {"results": self._apply(body), "warnings": [*self.warnings]}
            case ("GET", ["events"]):
                return 200, self._events(parse_qs(parts.query))
            case ("GET", ["audit"]):
                return 200, self._audited(parse_qs(parts.query))
            case ("POST", ["tokens"]):
                return self._create(body)
            case ("GET", [plural]):
                return 200, list(self.objects[plural].values())
            case (_, [plural, name, *rest]):
                return self._one(method, plural, name, rest)
        return 404, {"error": f"no such call: {method} {target}"}

    def _one(self, method: str, plural: str, name: str, rest: list[str]) -> tuple[int, Json]:
        if name in self.refusals and (method, rest) != ("GET", []):
            status, error = self.refusals[name]
            return status, {"error": error}
        if method == "PUT":
            return 200, {"warnings": [*self.warnings]}
        if name not in self.objects[plural]:
            return 404, {
                "error": f"{plural[:-1]} {name!r} is not registered; see `overbook get {plural}`"
            }
        if method == "DELETE":
            del self.objects[plural][name]
            return 200, {"warnings": [*self.warnings]}
        if rest[:1] == ["replicas"]:
            return self._log(name, int(rest[1]))
        if method == "POST":
            return 200, {"warnings": [*self.warnings]}
        thing = self.objects[plural][name]
        if rest == ["describe"]:
            models: JsonObject = {"replica": 0, "models": self.registered, "limit": 12_000_000}
            said: Json = self.verdict if plural == "models" else [models]
            return 200, {**thing, "verdict": said, "events": list(self.events)}
        return 200, thing

    def _create(self, body: Json) -> tuple[int, Json]:
        assert isinstance(body, dict)
        name, models = body["name"], body["models"]
        assert isinstance(name, str)
        assert isinstance(models, list)
        if name in self.refusals:
            status, error = self.refusals[name]
            return status, {"error": error}
        made = token(name, str(body["role"]), *map(str, models))
        self.objects["tokens"][name] = made
        return 201, {**made, "token": f"ob_{name}", "warnings": [*self.warnings]}

    def _log(self, server: str, replica: int) -> tuple[int, Json]:
        """The next of the pages that are to be told, the last of them again and again."""
        pages = self.logs.get(f"{server}/{replica}")
        if not pages:
            return 503, {"error": f"the agent of {server}/{replica} is not connected; try again"}
        lines = pages.pop(0) if len(pages) > 1 else pages[0]
        return 200, {
            "replica": f"{server}/{replica}",
            "path": f"/state/{server}-{replica}/server.log",
            "lines": [*lines],
            "next": "life:7",
            "missed": False,
        }

    def _apply(self, body: Json) -> list[Json]:
        assert isinstance(body, dict)
        documents = body["documents"]
        assert isinstance(documents, list)
        results: list[Json] = []
        for document in documents:
            assert isinstance(document, dict)
            metadata = document["metadata"]
            assert isinstance(metadata, dict)
            name = str(metadata["name"])
            result: JsonObject = {
                "kind": document["kind"],
                "name": name,
                "generation": 1,
                "error": None,
                "warnings": [*self.apply_warnings.get(name, [])],
            }
            if name in self.apply_errors:
                result |= {"action": "failed", "error": self.apply_errors[name]}
            else:
                known = name in self.objects[f"{document['kind']}s".lower()]
                result |= {
                    "action": "unchanged" if known else "created",
                    "error": self.unplaced.get(name),
                }
                if document["kind"] == "Model":
                    self.objects["models"].setdefault(name, model(name))
            results.append(result)
        return results

    def _events(self, query: dict[str, list[str]]) -> Json:
        after = int(query.get("after", ["0"])[0])
        if query.get("wait"):
            # Something happens while the client waits: what it waits for.
            self.objects["models"].update(self.becomes_ready)
        found = [
            each for each in self.events if isinstance(each["seq"], int) and each["seq"] > after
        ]
        if "model" in query:
            found = [each for each in found if each["name"] == query["model"][0]]
        last = max([after, *(each["seq"] for each in self.events if isinstance(each["seq"], int))])
        return {"events": list(found), "last": last}

    def _audited(self, query: dict[str, list[str]]) -> Json:
        """As the API does it, but for the time, of which all are."""
        after = int(query.get("after", ["0"])[0])
        found = [each for each in self.audited if int(str(each["seq"])) > after]
        if "model" in query:
            found = [each for each in found if each["name"] == query["model"][0]]
        paged = "after" in query or "since" in query
        found = found[: self.page] if paged else found[-self.page :]
        return {"entries": list(found), "last": found[-1]["seq"] if found else after}

    def _metadata(self, name: str) -> tuple[int, Json]:
        if name not in self.objects["models"]:
            return 404, {"error": f"model {name!r} is not registered"}
        inputs: list[Json] = [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
        return 200, {
            "name": name,
            "versions": ["1"],
            "platform": "sklearn",
            "inputs": inputs,
            "outputs": [],
        }

    def _infer(self, name: str, body: Json) -> tuple[int, Json]:
        if name in self.refusals:
            status, error = self.refusals[name]
            return status, {"error": error}
        if name not in self.objects["models"]:
            return 404, {"error": f"model {name!r} is not registered"}
        assert isinstance(body, dict)
        inputs = body["inputs"]
        assert isinstance(inputs, list)
        return 200, {"model_name": name, "outputs": inputs}


def _handler(fake: FakeOverbook) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Else the second of two small writes waits 40 ms for the client's acknowledgement.
        disable_nagle_algorithm = True

        def _serve(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body: Json = json.loads(self.rfile.read(length)) if length else None
            fake.requests.append((self.command, self.path, body))
            fake.headers.append({name.lower(): value for name, value in self.headers.items()})
            kind = "application/json"
            if self.path in fake.raw:
                status, content = fake.raw[self.path]
            elif self.path == "/readyz":
                status, content, kind = 200 if fake.ready else 503, b"so it is\n", "text/plain"
            elif self.path.endswith("/hang-up"):
                self.close_connection = True
                return
            else:
                status, answer = fake.answer(self.command, self.path, body)
                content = json.dumps(answer).encode()
                if description().knows(self.command, self.path):
                    fake.faults += description().faults(
                        self.command, self.path, status, kind, content
                    )
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            if fake.close_after_next:
                # Without a word in the headers, as a server does whose idle time is over.
                fake.close_after_next = False
                self.close_connection = True

        do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the tests read `requests`."""

    return Handler


@contextmanager
def running() -> Iterator[FakeOverbook]:
    """A fake that listens on a free loopback port until the end of the block."""
    fake = FakeOverbook()
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(fake)) as listener:
        listener.daemon_threads = True
        fake.url = f"http://127.0.0.1:{listener.server_address[1]}"
        thread = threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield fake
        finally:
            listener.shutdown()
            thread.join()
    assert fake.faults == [], "an answer was not as the control API describes it"
