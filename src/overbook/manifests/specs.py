"""What a Model and a Server are: frozen values with typed fields, and their JSON as users wrote it.

Build them with `validate.validate_object` or `parse.parse_sources`, which report every problem with
its field; constructing them directly raises pydantic's own error. JSON field names are camelCase.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictFloat, StrictInt, StrictStr
from pydantic.alias_generators import to_camel

from overbook.manifests.durations import parse_seconds, parse_wait
from overbook.manifests.names import (
    checked_model_name,
    checked_secret_name,
    checked_server_name,
)
from overbook.manifests.pods import PodMemory, pod_memory
from overbook.manifests.problems import Json, shown
from overbook.manifests.quantities import parse_bytes
from overbook.manifests.requirements import check_word, parse_requirement
from overbook.runtimes.server_kinds import SERVER_KINDS

GROUP: Final = "overbook.dev/v1alpha1"
SELDON_GROUP: Final = "mlops.seldon.io/v1alpha1"

# In which order models leave memory that others need; the first is the default.
EVICTION_POLICIES: Final = ("worth", "lru")
_INT32_MAX: Final = 2**31 - 1
# Seconds between two looks at what an address has.
_LEAST_REFRESH: Final = 10
_PORT_MAX: Final = 65535
# Characters of a path, an address or a word, and of an amount with its unit: what is longer is read by nobody.
_LONGEST: Final = 4096
_LONGEST_AMOUNT: Final = 100
# What may be attached: the kinds of inference server that there are adapters for.
ATTACHABLE: Final = tuple(SERVER_KINDS)
# What a Server may allow: calls that touch its machine.
ALLOWABLE: Final = tuple(
    sorted({word for kind in SERVER_KINDS.values() for word in kind.allowable})
)


def has_scheme(storage_uri: str) -> bool:
    """Whether a storageUri names a storage system (`s3://…`, or an rclone remote), not a local path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", storage_uri, re.ASCII) is not None


def _word(text: str) -> str:
    if not text or not text.isprintable() or text != text.strip():
        raise ValueError(
            f"{shown(text)} is not a plain word; expected text without line breaks or outer spaces"
        )
    return text


def _host_port(text: str) -> str:
    host, _, port = text.rpartition(":")
    plain = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    six = plain is not host
    named = re.fullmatch(r"[0-9A-Fa-f:.]+" if six else r"[A-Za-z0-9._-]+", plain, re.ASCII)
    if named is None or not re.fullmatch(r"[0-9]{1,5}", port, re.ASCII):
        raise ValueError(
            f"{shown(text)} is not an address; expected host:port, such as 127.0.0.1:8001 (no scheme, no path)"
        )
    if not 1 <= int(port) <= _PORT_MAX:
        raise ValueError(f"{shown(text)} has no such port; expected one from 1 to {_PORT_MAX}")
    return text


def _absolute(text: str) -> str:
    if not text.startswith("/"):
        raise ValueError(f"{shown(text)} is relative; expected an absolute path")
    return text


def _requirement(text: str) -> str:
    check_word(text)
    return text


def _package(text: str) -> str:
    parse_requirement(text)
    return text


def _quantity(value: str | int | float) -> str | int | float:
    if parse_bytes(value) == 0:
        raise ValueError(
            f"{shown(value)} is no memory at all; expected more than 0 bytes, or leave the field out"
        )
    return value


def _eviction_policy(text: str) -> str:
    if text not in EVICTION_POLICIES:
        raise ValueError(
            f"{shown(text)} is not a policy; expected {' or '.join(EVICTION_POLICIES)}"
        )
    return text


def _allowable(text: str) -> str:
    if text not in ALLOWABLE:
        raise ValueError(
            f"{shown(text)} is nothing that can be allowed; expected {', '.join(ALLOWABLE[:-1])} or {ALLOWABLE[-1]}"
        )
    return text


def _duration(value: str | int | float) -> str | int | float:
    parse_seconds(value)
    return value


def _refresh(value: str | int | float) -> str | int | float:
    if 0 < parse_seconds(value) < _LEAST_REFRESH:
        raise ValueError(
            f"{shown(value)} asks too often; expected at least {_LEAST_REFRESH} s, or 0 for never"
        )
    return value


def _wait(value: str | int | float) -> str | int | float:
    parse_wait(value)
    return value


ModelName = Annotated[StrictStr, AfterValidator(checked_model_name)]
ServerName = Annotated[StrictStr, AfterValidator(checked_server_name)]
SecretName = Annotated[StrictStr, AfterValidator(checked_secret_name)]
Word = Annotated[StrictStr, Field(max_length=_LONGEST), AfterValidator(_word)]
_Short = Annotated[StrictStr, Field(max_length=_LONGEST_AMOUNT)]
Quantity = Annotated[_Short | StrictInt | StrictFloat, AfterValidator(_quantity)]
Duration = Annotated[_Short | StrictInt | StrictFloat, AfterValidator(_duration)]
Refresh = Annotated[_Short | StrictInt | StrictFloat, AfterValidator(_refresh)]
Wait = Annotated[_Short | StrictInt | StrictFloat, AfterValidator(_wait)]
EvictionPolicy = Annotated[StrictStr, AfterValidator(_eviction_policy)]
Allowed = Annotated[StrictStr, AfterValidator(_allowable)]
HostPort = Annotated[Word, AfterValidator(_host_port)]
AbsolutePath = Annotated[Word, AfterValidator(_absolute)]
Requirement = Annotated[Word, AfterValidator(_requirement)]
Package = Annotated[Word, AfterValidator(_package)]
Words = Annotated[tuple[Word, ...], Field(strict=False)]
ModelNames = Annotated[tuple[ModelName, ...], Field(strict=False)]
Replicas = Annotated[StrictInt, Field(ge=0, le=_INT32_MAX)]


class _Value(BaseModel):
    model_config = ConfigDict(
        frozen=True, strict=True, extra="allow", alias_generator=to_camel, populate_by_name=True
    )


class Metadata(_Value):
    """Who an object is. Namespace, labels and annotations are kept and not interpreted."""

    name: StrictStr
    namespace: StrictStr | None = None
    labels: dict[StrictStr, StrictStr] | None = None
    annotations: dict[StrictStr, StrictStr] | None = None


class ModelMetadata(Metadata):
    """Of a Model."""

    name: ModelName


class ServerMetadata(Metadata):
    """Of a Server."""

    name: ServerName


class _Closed(_Value):
    """Part of a spec in which every field is known."""

    model_config = ConfigDict(extra="forbid")


class Parameter(_Closed):
    """Something that the model's own code, or its server, is told."""

    name: Word
    value: StrictStr


class ModelSpec(_Value):
    """What a Model needs. `memory` is as the user wrote it; `memory_bytes` is what it means."""

    storage_uri: Word
    refresh: Refresh = 0
    secret_name: SecretName | None = None
    artifact_version: Annotated[StrictInt, Field(ge=0, le=_INT32_MAX)] | None = None
    model_type: Word | None = None
    requirements: Annotated[tuple[Requirement, ...], Field(strict=False)] = ()
    memory: Quantity | None = None
    replicas: Replicas = 1
    min_replicas: Annotated[StrictInt, Field(ge=0, le=_INT32_MAX)] | None = None
    server: ServerName | None = None
    model_name: ModelName | None = None
    pinned: bool = False
    priority: Annotated[StrictInt, Field(ge=-_INT32_MAX, le=_INT32_MAX)] = 0
    keep_alive: Duration = 0
    activation_timeout: Wait | None = None
    verify: bool = True
    needs: ModelNames = ()
    parameters: Annotated[tuple[Parameter, ...], Field(strict=False)] = ()

    @property
    def memory_bytes(self) -> int | None:
        """Declared bytes, None when the manifest leaves them to be measured."""
        return None if self.memory is None else parse_bytes(self.memory)

    @property
    def keep_alive_seconds(self) -> float:
        """Seconds after its last use in which others are evicted first."""
        return parse_seconds(self.keep_alive)

    @property
    def refresh_seconds(self) -> float:
        """Seconds after which the address is asked again whether it has other files; 0 for never."""
        return parse_seconds(self.refresh)

    @property
    def activation_timeout_seconds(self) -> float | None:
        """Seconds that a request waits for the model, None where the gateway's own limit holds."""
        return None if self.activation_timeout is None else parse_wait(self.activation_timeout)

    @property
    def all_requirements(self) -> tuple[str, ...]:
        """Requirements, and Seldon's modelType, which is one more; each once, in order."""
        extra = () if self.model_type is None else (self.model_type,)
        return tuple(dict.fromkeys((*self.requirements, *extra)))


class ServerAddress(_Closed):
    """Where an inference server that somebody else started answers: host:port each."""

    rest: HostPort
    grpc: HostPort


class ModelRepository(_Closed):
    """The folder that such a server reads models from: `path` as the agent sees it, `server_path` as it does."""

    path: AbsolutePath
    server_path: AbsolutePath | None = None


class ServerEnvironment(_Closed):
    """Packages of a Server's own: named here, in a requirements file, or packed. One of the three."""

    packages: Annotated[tuple[Package, ...], Field(strict=False)] | None = None
    requirements: Word | None = None
    archive: Word | None = None


@dataclass(frozen=True, slots=True)
class Attachment:
    """An inference server that somebody else started, and the folder shared with it."""

    address: ServerAddress
    repository: ModelRepository


class ServerSpec(_Value):
    """A kind of inference server: `serverConfig` names the runtime, `memory` is each replica's M.

    With `address` nothing is started: the server that answers there is used.
    """

    server_config: Word
    replicas: Annotated[StrictInt, Field(ge=0, le=_INT32_MAX)] = 1
    memory: Quantity | None = None
    overcommit_percentage: Annotated[StrictInt, Field(ge=0, le=_INT32_MAX)] | None = None
    allow_oversized_memory: bool = False
    eviction_policy: EvictionPolicy = EVICTION_POLICIES[0]
    capabilities: Words | None = None
    extra_capabilities: Words = ()
    address: ServerAddress | None = None
    model_repository: ModelRepository | None = None
    pod_spec: dict[StrictStr, Any] | None = None
    environment: ServerEnvironment | None = None
    allow: Annotated[tuple[Allowed, ...], Field(strict=False)] = ()
    deny_pickle: bool = False

    @property
    def attachment(self) -> Attachment | None:
        """What to attach to, None when the runtime is to be started."""
        if self.address is None or self.model_repository is None:
            return None
        return Attachment(self.address, self.model_repository)

    @property
    def memory_bytes(self) -> int | None:
        """Budget M in bytes, None when the machine's default applies."""
        return self.pod.memory if self.memory is None else parse_bytes(self.memory)

    @property
    def overcommit(self) -> int | None:
        """Percent, None when the default applies."""
        given = self.overcommit_percentage
        return self.pod.overcommit if given is None else given

    @property
    def pod(self) -> PodMemory:
        """What Seldon's podSpec says of both."""
        return pod_memory(self.pod_spec or {})


class _Manifest(_Value):
    api_version: Literal["overbook.dev/v1alpha1", "mlops.seldon.io/v1alpha1"]
    metadata: Metadata

    @property
    def name(self) -> str:
        return self.metadata.name

    def to_json(self) -> dict[str, Json]:
        """The object as the user wrote it: only the fields that were given, values untouched."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)


class ModelManifest(_Manifest):
    """A `kind: Model` document."""

    kind: Literal["Model"]
    metadata: ModelMetadata
    spec: ModelSpec


class ServerManifest(_Manifest):
    """A `kind: Server` document."""

    kind: Literal["Server"]
    metadata: ServerMetadata
    spec: ServerSpec


Manifest: TypeAlias = ModelManifest | ServerManifest
