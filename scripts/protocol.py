"""Writes docs/protocol.md: every call that MLServer and Triton answer, and what becomes of it through the gateway.

The servers' calls are read from their installed environments: MLServer's routes and services from its own application
and messages, Triton's paths and services from its program, in which they stand as text. What becomes of each is the
table in `overbook.gateway.oip.surface`. It fails where a call of the servers is not in the table, and where the table
has one that they have not. With --check it writes nothing, and fails where the page is stale.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from overbook.gateway.oip.surface import MLSERVER, REST, RPCS, TRITON, Call, Way
from overbook.runtimes.install import environment

_ROOT: Final = Path(__file__).parents[1]
_PAGE: Final = _ROOT / "docs" / "protocol.md"
_ASK_MLSERVER: Final = """
import json
from mlserver import __version__
from mlserver.grpc import dataplane_pb2, model_repository_pb2
from mlserver.rest.app import create_app
from mlserver.settings import Settings
app = create_app(Settings(metrics_endpoint=None), None, None)
routes = [(method, route.path) for route in app.routes for method in route.methods]
rpcs = [
    f"/{service.full_name}/{method.name}"
    for file in (dataplane_pb2, model_repository_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
print(json.dumps({"version": __version__, "routes": routes, "rpcs": rpcs}))
"""
_TRITON: Final = "pytriton/tritonserver/bin/tritonserver"
_RPC: Final = re.compile(rb"(?<=\0)/(?:inference|grpc\.health\.v1)\.\w+/\w+(?=\0)")
_PATTERN: Final = re.compile(rb"(?<=\0)/v2[\w/()\[\]^+?:|-]*(?=\0)")
# How MLServer calls what stands for a name, and in which order Triton's patterns have names behind these words.
_NAMES: Final = {"{model_name}": "MODEL", "{model_version}": "VERSION"}
_BEHIND: Final = {
    "models": "MODEL",
    "versions": "VERSION",
    "repository": "REPOSITORY",
    "region": "REGION",
}
_KINDS: Final = ((MLSERVER, "MLServer"), (TRITON, "Triton"))


def _mlserver() -> tuple[set[tuple[str, str]], set[str]]:
    """Method and path of each route, and the calls of gRPC."""
    python = environment(MLSERVER).python
    done = subprocess.run(
        [str(python), "-c", _ASK_MLSERVER], capture_output=True, check=True, text=True
    )
    said = json.loads(done.stdout.splitlines()[-1])
    routes = set()
    for method, path in said["routes"]:
        for theirs, ours in _NAMES.items():
            path = path.replace(theirs, ours)
        if method != "HEAD":
            routes.add((method, path))
    return routes, set(said["rpcs"])


def _triton() -> tuple[set[str], set[str]]:
    """The paths, whose methods its program does not tell, and the calls of gRPC."""
    packages = next(environment(TRITON).python.parent.parent.glob("lib/python*/site-packages"))
    program = (packages / _TRITON).read_bytes()
    rpcs = {found.decode() for found in _RPC.findall(program)}
    patterns = {found.decode() for found in _PATTERN.findall(program)}
    return {_named(path) for pattern in patterns for path in _expanded(pattern)}, rpcs


def _expanded(pattern: str) -> list[str]:
    """Every path that the pattern means, with * for a name. It has groups, alternatives and what may be left out."""

    def alternatives(at: int) -> tuple[list[str], int]:
        every: list[str] = []
        found = [""]
        while at < len(pattern) and pattern[at] != ")":
            if pattern[at] == "|":
                every, found, at = every + found, [""], at + 1
                continue
            these, at = one(at)
            if pattern[at : at + 1] == "?":
                these, at = [*these, ""], at + 1
            found = [before + this for before in found for this in these]
        return every + found, at

    def one(at: int) -> tuple[list[str], int]:
        if pattern[at] == "(":
            these, end = alternatives(at + (3 if pattern.startswith("(?:", at) else 1))
            return these, end + 1
        if pattern[at] == "[":
            return ["*"], pattern.index("]", at) + 2  # behind its plus sign
        return [pattern[at]], at + 1

    return alternatives(0)[0]


def _named(path: str) -> str:
    parts = path.split("/")
    return "/".join(
        _BEHIND[parts[number - 1]] if part == "*" else part for number, part in enumerate(parts)
    )


def _differences() -> Iterable[str]:
    """What is missing in the table, and what is too much."""
    routes, mlserver_rpcs = _mlserver()
    paths, triton_rpcs = _triton()
    pairs = (
        (MLSERVER, routes, {(call.method, call.path) for call in _of(REST, MLSERVER)}),
        (TRITON, paths, {call.path for call in _of(REST, TRITON)}),
        (MLSERVER, mlserver_rpcs, {call.path for call in _of(RPCS, MLSERVER)}),
        (TRITON, triton_rpcs - _UNANSWERED, {call.path for call in _of(RPCS, TRITON)}),
    )
    for kind, theirs, ours in pairs:
        yield from (f"{kind} has {each}, the table has not" for each in sorted(theirs - ours))
        yield from (f"the table has {each}, {kind} has not" for each in sorted(ours - theirs))


# Triton registers it and answers that it is not implemented.
_UNANSWERED: Final = {"/grpc.health.v1.Health/Watch"}
_OWN: Final = "a model's own path"


def _of(calls: Iterable[Call], kind: str) -> Iterable[Call]:
    return (call for call in calls if call.way(kind) is not Way.ABSENT and call.path != _OWN)


def _page() -> str:
    return _HEAD + _table(REST) + _BETWEEN + _table(RPCS) + _TAIL


def _table(calls: tuple[Call, ...]) -> str:
    lines = ["| call | MLServer | Triton | cold model | |", "|---|---|---|---|---|"]
    for call in calls:
        if "/versions/VERSION" in call.path:
            continue  # it stands in the line of the one without
        versioned = call.path.startswith("/v2/models/MODEL")
        path = call.path.replace("MODEL", "MODEL[/versions/VERSION]", 1) if versioned else call.path
        shown = f"{call.method} `{path}`" if call.path.startswith("/") else path
        lines.append(
            f"| {shown} | {_WORDS[call.mlserver]} | {_WORDS[call.triton]} | {_cold(call)} | {call.remark} |"
        )
    return "\n".join(lines) + "\n"


_WORDS: Final = {
    Way.SERVER: "server",
    Way.HERE: "gateway",
    Way.ALLOWED: "[if allowed](#allowed-by-name)",
    Way.REFUSED: "refused",
    Way.ABSENT: "no such call",
}


def _cold(call: Call) -> str:
    if Way.SERVER in (call.mlserver, call.triton):
        return "is loaded"
    if Way.ALLOWED in (call.mlserver, call.triton):
        return ""  # that is said of all of them together
    about_a_model = "/MODEL" in call.path or call.path.rpartition("/")[2].startswith("Model")
    return "stays cold" if about_a_model else ""


_HEAD: Final = """# The protocol, call by call

Made by `make protocol` from the routes and services of the servers that Overbook ships, and from the table by which the
gateway acts (`gateway/oip/surface.py`); a test compares them. In the columns of the servers stands who answers for a
model there:

- *server*: the model's server, in its own words. A request for a cold model brings it into memory, and waits for that.
- *gateway*: Overbook, from what it knows of all models, in the form of the protocol. Nothing is loaded for it.
- *if allowed*: the servers whose Server allows it by name, [see below](#allowed-by-name); where none does it is refused
  for the reason that is given.
- *refused*: nobody, for the reason that is given; REST 403, gRPC PERMISSION_DENIED.
- *no such call*: that server does not have it: REST 404, gRPC UNIMPLEMENTED. A wrong method is 405. Neither loads a
  cold model.

Every call is answered over HTTP/1.1 and over HTTP/2, with TLS ([tls.md](tls.md)) or without, gRPC on the same port.

## REST

"""
_BETWEEN: Final = """
## gRPC

"""
_TAIL: Final = """
## Allowed by name

Calls that touch the machine are refused, with 403 and PERMISSION_DENIED, unless a Server's manifest allows them:

```yaml
spec:
  serverConfig: triton
  allow: [sharedMemory, trace, log, repository]    # or some of them
```

That holds at once, also while the server runs, for servers started by Overbook and attached ones, and for all
replicas of that Server. The call then goes to them as the client sent it, and the answer is the server's own. Server
metadata names the protocol's extension (`system_shared_memory`, `cuda_shared_memory`, `trace`, `logging`,
`model_repository`) while some Server allows it.

**Whoever can reach the gateway can do what is allowed, and nobody looks into it:** map any shared memory that the
server's user may open, that of the server itself and of other clients included, whatever its size; fill the disk with
traces and logs; take models out of memory that others use. Allow it where all clients are yours.

- **`sharedMemory`**: regions are registered with all replicas of all Servers that allow it, or with none: any of them
  may be the one that answers the request. So they have to be on the same machine as the client. `status` lists what
  the servers have, whoever registered it; `unregister` goes to all, and without a name ends all that they have. No
  model is loaded for any of it. A process that takes another's place is told again: one that Overbook started before
  requests reach it, an attached one when its agent has noticed. A region whose memory cannot be opened any more is
  forgotten then, with a line in the log. So is what was registered through
  a gateway that was started again since. Where a Server does not allow it any more, what was registered through the
  gateway goes. Requests that name a region are answered as those that bring their tensors. The pages of a region that
  a server has touched count as memory of its process: leave room for them beside the budget. Many of them, measured
  by it, are taken for lost memory at first, and the process is replaced once, which no request notices
  ([memory.md](memory.md)).
- **`trace`, `log`**: server-wide settings are changed on all replicas that allow it, and read from one. A process
  that takes another's place is told again. A model's own trace settings are asked of, and set at, the servers that
  have the model: Triton knows it by name only while it is in memory, so a cold model is loaded for that. They outlive
  its eviction, and end with the server's process. The files are the server's to name: a Triton that Overbook started
  writes `trace.json`, or `trace.json.0`, `.1` and so on, beside its `server.log` in `agents/SERVER-N/server` below
  the state folder, and nothing of it before `trace_level` is set.
- **`repository`**: `load` is `overbook activate`, `unload` is `overbook evict`, and both wait until it is done: the
  model is in memory, or its memory is given back, on all its replicas. To clients the model stays READY, in the index
  and when they ask for it, and the next request brings it back. `load` of a model that failed for good tries it
  again; it does not look for changed files, which `overbook apply` does. Its parameters (`config`, `file:...`) are
  refused, as files and configuration are the manifest's; `unload_dependents` is accepted: what a model calls leaves
  with it anyway. A model that cannot be loaded is 503 and UNAVAILABLE with the server's reason, as any request for
  it, and one that is pinned 403 and PERMISSION_DENIED. All Servers that have the model must allow it.

## Bodies

- **Content type.** The body of an inference request is JSON, whatever its `content-type` says, and also without one;
  with `Inference-Header-Content-Length` binary tensors follow the JSON. That holds for both servers.
- **`content-encoding`** of a request over REST: `gzip` and `deflate`, for both servers.
- **`accept-encoding`**: on Triton its own rules hold. MLServer compresses for a client that names `gzip` or
  `deflate` and nothing else, as tritonclient does with `response_compression_algorithm`; libraries that name several
  codings with every request get plain answers, which the protocol allows. Streams of events are never held back.
- **Compressed messages of gRPC** (`compression_algorithm`): gzip and deflate. Up to 4 MiB, inflated, they go to their
  server as others do; larger ones, and all where the machine has no `libz.so.1`, take one more hop through the
  gateway's own process, since Envoy does not read the model's name in them then.
- **Largest body**: 80 MiB, as it is sent and as it is inflated ([limits.md](limits.md)).

## Names and headers

The path, or the message, names the model. The header `seldon-model` (metadata over gRPC) may name it as well; where it
names another model the request is refused. It is needed for paths that a model defines for itself outside of
`/v2/models/MODEL/`, and it makes a stream one of that model only, with answers in its server's own form.

A name that is percent-encoded in the path reaches the server decoded. Each answer bears the request's `x-request-id`,
its client's or a new one, which the server gets as well.

## Words of refusals

Where a server would be asked for a model that is not registered, or for a version that a model has not, the gateway
says so in words of its own, with the protocol's status: 404 and NOT_FOUND. An error over REST is always
`{"error": TEXT}`, but for what MLServer's web framework says by itself (`{"detail": ...}`: 404, 405 and 422).
"""


def main() -> int:
    """Exit code 1: something is missing or stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    check = parser.parse_args().check
    wrong = list(_differences())
    page = _page()
    if not check and not wrong:
        _PAGE.write_text(page, encoding="utf-8")
    elif check and _PAGE.read_text(encoding="utf-8") != page:
        wrong.append(f"stale: {_PAGE.relative_to(_ROOT)} (run: make protocol)")
    sys.stderr.writelines(f"{each}\n" for each in wrong)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
