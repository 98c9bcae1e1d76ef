"""Pure: every call that MLServer and Triton answer, and what becomes of it here.

One table: the endpoints refuse by it, requests for cold models are checked against it before anything is loaded, and
docs/protocol.md is made of it. Its calls are compared with the servers' own (`scripts/protocol.py`), so that none is
forgotten. In paths MODEL, VERSION, REGION and REPOSITORY stand for names. What touches the machine of a server is
refused unless its Server allows it by a word (`allow` in its manifest); what becomes of it then is `passed_on`'s and
`repository`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from overbook.runtimes.server_kinds import LOG, REPOSITORY, SHARED_MEMORY, TRACE

GRPC: Final = "gRPC"
MLSERVER: Final = "mlserver"
TRITON: Final = "triton"
SERVICE: Final = "inference.GRPCInferenceService"
# MLServer serves the repository calls under this name as well, with the same fields.
REPOSITORY_SERVICE: Final = "inference.model_repository.ModelRepositoryService"
HEALTH_SERVICE: Final = "grpc.health.v1.Health"


class Way(Enum):
    """Who answers. SERVER: the model's server, and a cold model is brought into memory for it. HERE: the gateway, and
    no model is. ALLOWED: the servers whose Server allows it, and else nobody. REFUSED: nobody, by decision. ABSENT:
    nobody, as that server has no such call.
    """

    SERVER = "the server"
    HERE = "the gateway"
    ALLOWED = "if allowed"
    REFUSED = "refused"
    ABSENT = "not there"


@dataclass(frozen=True, slots=True)
class Call:
    """``method``: of HTTP, or GRPC. ``remark``: why it is refused, or what differs from the server's own answer.

    ``allow``: the word by which a Server allows it; "" where it need not be allowed.
    """

    method: str
    path: str
    mlserver: Way
    triton: Way
    remark: str = ""
    allow: str = ""

    def way(self, kind: str) -> Way:
        """Who answers it for models on this kind of server."""
        return {MLSERVER: self.mlserver, TRITON: self.triton}.get(kind, Way.ABSENT)


def how_to_allow(word: str) -> str:
    """What to do so that a call is not refused, for people."""
    return f"`allow: [{word}]` in the Server's manifest allows it"


_REPOSITORY: Final = (
    "models come and go by themselves as requests need them; "
    f"`overbook activate` and `overbook evict` force it; {how_to_allow(REPOSITORY)}"
)
_SHARED_MEMORY: Final = (
    "shared memory is a region of the machine that the server runs on, and models share their server; "
    f"send tensors in the request; {how_to_allow(SHARED_MEMORY)}"
)
_TRACING: Final = (
    "trace settings are about files on the server's machine, and models share their server; "
    f"{how_to_allow(TRACE)}"
)
_LOGGING: Final = (
    "log settings are about files on the server's machine, and models share their server; "
    f"{how_to_allow(LOG)}"
)
_OWN_DOCUMENT: Final = (
    "it describes the server; /v2/models/MODEL/docs/dataplane.json tells a model's"
)
_INDEX: Final = "all registered models; a cold one is READY"
_READY: Final = "a registered model is ready, cold or hot, unless it cannot be served"
_METADATA: Final = "of a cold model what its server said last, else what its files tell"
_CONFIGURATION: Final = (
    "what its server said when the model was loaded last; one that was never loaded is, for this"
)
_STATISTICS: Final = (
    "counted since the model was loaded; of a cold model they are zero, as after a load"
)
_ALL_STATISTICS: Final = "of the models that are in memory, on all servers"
_SERVERS: Final = "ready while one of the servers can serve; servers that cannot are named"
_STREAM: Final = (
    "one stream may name several models; answers come as ModelStreamInferResponse, as Triton's do, "
    "and as ModelInferResponse, as MLServer's do, where the metadata of the stream names the model (seldon-model)"
)
_OWN_PATHS: Final = "paths that a model defines; outside of /v2/models/MODEL the header seldon-model names the model"
_REGISTERED: Final = (
    f"of all servers that allow it (`{SHARED_MEMORY}`); where none does, nothing is registered"
)
_UNREGISTERED: Final = (
    f"on all servers that allow it (`{SHARED_MEMORY}`); where none does, done at once"
)

_BOTH: Final = (Way.SERVER, Way.SERVER)
_HERE: Final = (Way.HERE, Way.HERE)
_HERE_FOR_TRITON: Final = (Way.ABSENT, Way.HERE)
_OF_MLSERVER: Final = (Way.SERVER, Way.ABSENT)
_ALLOWED: Final = (Way.ALLOWED, Way.ALLOWED)
_ALLOWED_TRITON: Final = (Way.ABSENT, Way.ALLOWED)
_ALLOWED_MLSERVER: Final = (Way.ALLOWED, Way.ABSENT)
_REFUSED_MLSERVER: Final = (Way.REFUSED, Way.ABSENT)
_MODEL: Final = "/v2/models/MODEL"


def _of_model(
    method: str,
    verb: str,
    ways: tuple[Way, Way],
    remark: str = "",
    allow: str = "",
    *,
    slash: str = "/",
) -> list[Call]:
    """With and without a version in the path."""
    rest = f"{slash}{verb}" if verb else ""
    return [
        Call(method, f"{_MODEL}{rest}", *ways, remark, allow),
        Call(method, f"{_MODEL}/versions/VERSION{rest}", *ways, remark, allow),
    ]


def _shared_memory(kind: str) -> list[Call]:
    calls = []
    for path in (f"/v2/{kind}sharedmemory", f"/v2/{kind}sharedmemory/region/REGION"):
        calls += [
            Call("GET", f"{path}/status", *_HERE_FOR_TRITON, _REGISTERED, SHARED_MEMORY),
            Call("POST", f"{path}/register", *_ALLOWED_TRITON, _SHARED_MEMORY, SHARED_MEMORY),
            Call("POST", f"{path}/unregister", *_HERE_FOR_TRITON, _UNREGISTERED, SHARED_MEMORY),
        ]
    return calls


def _repository() -> list[Call]:
    calls = []
    for path in ("/v2/repository", "/v2/repository/REPOSITORY"):
        named = path.endswith("REPOSITORY")
        index, control = (_HERE_FOR_TRITON, _ALLOWED_TRITON) if named else (_HERE, _ALLOWED)
        calls += [
            Call("POST", f"{path}/index", *index, _INDEX),
            Call("POST", f"{path}/models/MODEL/load", *control, _REPOSITORY, REPOSITORY),
            Call("POST", f"{path}/models/MODEL/unload", *control, _REPOSITORY, REPOSITORY),
        ]
    return calls


REST: Final[tuple[Call, ...]] = (
    *_of_model("POST", "infer", _BOTH),
    *_of_model("POST", "generate", _BOTH),
    *_of_model("POST", "generate_stream", _BOTH),
    *_of_model("POST", "infer_stream", _OF_MLSERVER),
    *_of_model("GET", "", _HERE, _METADATA),
    *_of_model("GET", "ready", _HERE, _READY),
    *_of_model("GET", "config", _HERE_FOR_TRITON, _CONFIGURATION),
    *_of_model("GET", "stats", _HERE_FOR_TRITON, _STATISTICS),
    *_of_model("GET", "docs", _OF_MLSERVER),
    *_of_model("GET", "docs/dataplane.json", _OF_MLSERVER),
    *_of_model("GET", "trace/setting", _ALLOWED_TRITON, _TRACING, TRACE),
    *_of_model("POST", "trace/setting", _ALLOWED_TRITON, _TRACING, TRACE),
    Call("GET", "/v2/models/stats", *_HERE_FOR_TRITON, _ALL_STATISTICS),
    Call("GET", "/v2", *_HERE, "the gateway's own name and version, the extensions of its servers"),
    Call("GET", "/v2/health/live", *_HERE),
    Call("GET", "/v2/health/ready", *_HERE, _SERVERS),
    *_repository(),
    Call("GET", "/v2/trace/setting", *_ALLOWED_TRITON, _TRACING, TRACE),
    Call("POST", "/v2/trace/setting", *_ALLOWED_TRITON, _TRACING, TRACE),
    Call("GET", "/v2/logging", *_ALLOWED_TRITON, _LOGGING, LOG),
    Call("POST", "/v2/logging", *_ALLOWED_TRITON, _LOGGING, LOG),
    *_shared_memory("system"),
    *_shared_memory("cuda"),
    Call("GET", "/v2/docs", *_REFUSED_MLSERVER, _OWN_DOCUMENT),
    Call("GET", "/v2/docs/dataplane.json", *_REFUSED_MLSERVER, _OWN_DOCUMENT),
    Call("GET", "/openapi.json", *_REFUSED_MLSERVER, _OWN_DOCUMENT),
    Call("any", "a model's own path", *_OF_MLSERVER, _OWN_PATHS),
)


def _rpc(
    name: str,
    ways: tuple[Way, Way],
    remark: str = "",
    service: str = SERVICE,
    *,
    allow: str = "",
) -> Call:
    return Call(GRPC, f"/{service}/{name}", *ways, remark, allow)


RPCS: Final[tuple[Call, ...]] = (
    _rpc("ModelInfer", _BOTH),
    _rpc("ModelStreamInfer", _BOTH, _STREAM),
    _rpc("ServerLive", _HERE),
    _rpc("ServerReady", _HERE),
    _rpc("ServerMetadata", _HERE),
    _rpc("ModelReady", _HERE, _READY),
    _rpc("ModelMetadata", _HERE, _METADATA),
    _rpc("ModelConfig", _HERE_FOR_TRITON, _CONFIGURATION),
    _rpc("ModelStatistics", _HERE_FOR_TRITON, f"{_STATISTICS}; without a name: {_ALL_STATISTICS}"),
    _rpc("RepositoryIndex", _HERE, _INDEX),
    _rpc("RepositoryModelLoad", _ALLOWED, _REPOSITORY, allow=REPOSITORY),
    _rpc("RepositoryModelUnload", _ALLOWED, _REPOSITORY, allow=REPOSITORY),
    _rpc("TraceSetting", _ALLOWED_TRITON, _TRACING, allow=TRACE),
    _rpc("LogSettings", _ALLOWED_TRITON, _LOGGING, allow=LOG),
    *(
        _rpc(f"{kind}SharedMemory{verb}", ways, remark, allow=SHARED_MEMORY)
        for kind in ("System", "Cuda")
        for verb, ways, remark in (
            ("Status", _HERE_FOR_TRITON, _REGISTERED),
            ("Register", _ALLOWED_TRITON, _SHARED_MEMORY),
            ("Unregister", _HERE_FOR_TRITON, _UNREGISTERED),
        )
    ),
    _rpc("RepositoryIndex", (Way.HERE, Way.ABSENT), _INDEX, REPOSITORY_SERVICE),
    *(
        _rpc(
            f"RepositoryModel{verb}",
            _ALLOWED_MLSERVER,
            _REPOSITORY,
            REPOSITORY_SERVICE,
            allow=REPOSITORY,
        )
        for verb in ("Load", "Unload")
    ),
    _rpc("Check", _HERE_FOR_TRITON, "of any name, as ServerReady", HEALTH_SERVICE),
    _rpc(
        "Watch", (Way.ABSENT, Way.ABSENT), "Triton has it, and does not answer it", HEALTH_SERVICE
    ),
)

_KINDS: Final[Mapping[str, str]] = {MLSERVER: "MLServer", TRITON: "Triton"}
# What may stand behind a model's name, with the method that it needs, by kind of server.
_VERBS: Final[Mapping[str, Mapping[str, str]]] = {
    kind: {
        call.path.removeprefix(f"{_MODEL}/"): call.method
        for call in REST
        if call.way(kind) is Way.SERVER
        and call.path.startswith(f"{_MODEL}/")
        and "/versions/" not in call.path
    }
    for kind in _KINDS
}
_RPCS: Final = {call.path: call for call in RPCS}


@dataclass(frozen=True, slots=True)
class Unanswerable:
    """``allow``: the method that would be right, where it is the method that is wrong."""

    reason: str
    allow: str = ""


def unanswerable(kind: str, method: str, path: str) -> Unanswerable | None:
    """Why no model on this kind of server can answer such a request over REST; None: it may. The path as it was sent.

    A request for which that is known needs no model in memory. Of kinds that are not known little is.
    """
    bare = path.partition("?")[0]
    crooked = any(part in ("", ".", "..") for part in bare.split("/")[1:])
    if kind not in _KINDS:
        return Unanswerable(f"no such endpoint: {bare}") if crooked else None
    verb = _verb(bare)
    needed = None if verb is None else _VERBS[kind].get(verb)
    if needed is not None:
        if method == needed:
            return None
        return Unanswerable(f"method {method} is not allowed for {bare}; {needed} is", needed)
    if kind == MLSERVER and not crooked:
        return None  # it may be a path of the model's own
    return Unanswerable(f"no such endpoint on {_KINDS[kind]}: {bare}")


def unanswerable_rpc(kind: str, path: str) -> Unanswerable | None:
    """As `unanswerable`, of a call of gRPC."""
    call = _RPCS.get(path)
    # What the gateway answers it may ask of the server itself.
    if kind not in _KINDS or call is None or call.way(kind) in (Way.SERVER, Way.HERE):
        return None
    return Unanswerable(f"{_KINDS[kind]} has no call {path.rpartition('/')[2]}")


def _verb(path: str) -> str | None:
    """What stands behind the model's name and its version; None where the path names no model."""
    parts = path.split("/", 4)
    if path[:11] != "/v2/models/" or len(parts) < 5:
        return None
    version, slash, rest = parts[4].removeprefix("versions/").partition("/")
    return rest if parts[4].startswith("versions/") and version and slash else parts[4]
