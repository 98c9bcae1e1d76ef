"""The control API's request and response bodies, for checking what comes in and for OpenAPI. Data only."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ApplyBody(_Body):
    """Manifests as JSON objects, each standing for itself."""

    documents: list[object]


class TimeoutBody(_Body):
    """How long to wait for the agent, in seconds."""

    timeout: Annotated[float, Field(gt=0, le=3600)] = 60.0


class ApplyResult(BaseModel):
    """``error`` beside another action than ``failed``: registered, but it has no place."""

    kind: str
    name: str
    generation: int
    action: Literal["created", "configured", "unchanged", "failed", "valid"]
    error: str | None
    warnings: list[str]


class ApplyAnswer(BaseModel):
    """``warnings``: one line each, about all documents together: whom pins leave no room, who does not know yet."""

    results: list[ApplyResult]
    warnings: list[str]


class DoneAnswer(BaseModel):
    """It is done. ``warnings``: one line each, what follows from it, and who does not act by it yet."""

    warnings: list[str]


class ErrorAnswer(BaseModel):
    """One line: field, value, what was expected."""

    error: str


class EventObject(BaseModel):
    seq: int
    time: str
    type: Literal["Normal", "Warning"]
    reason: str
    kind: str
    name: str
    replica: str
    message: str


class EventsAnswer(BaseModel):
    events: list[EventObject]
    last: int


class VersionAnswer(BaseModel):
    version: str


class ConditionObject(BaseModel):
    type: str
    status: Literal["True", "False"]
    reason: str
    message: str
    lastTransitionTime: str  # noqa: N815


class MetadataObject(BaseModel):
    name: str
    generation: int


class ModelBytes(BaseModel):
    declared: int | None
    measured: int | None
    charged: int


class ModelReplica(BaseModel):
    """``unverified``: why nobody knows whether this content can be loaded; null once it was. ``warnings``: what may be
    wrong with it although it can be served.
    """

    server: str
    replica: int
    state: Literal["cold", "loading", "resident", "draining", "unloading", "failed"]
    bytes: ModelBytes
    lastUsed: str | None  # noqa: N815
    inFlight: int  # noqa: N815
    loads: int
    evictions: int
    lastError: str | None  # noqa: N815
    unverified: str | None
    warnings: list[str]


class ModelStatus(BaseModel):
    """``final``: it failed, and nothing but a change or a person's `activate` makes it ready."""

    conditions: list[ConditionObject]
    final: bool
    replicas: list[ModelReplica]


class ModelObject(BaseModel):
    apiVersion: str  # noqa: N815
    kind: Literal["Model"]
    metadata: MetadataObject
    spec: dict[str, object]
    status: ModelStatus


class Address(BaseModel):
    rest: str | None
    grpc: str | None


class ServerBytes(BaseModel):
    budget: int
    registered: int
    resident: int
    process: int | None
    base: int | None


class ServerModels(BaseModel):
    registered: int
    resident: int


class ForeignModel(BaseModel):
    name: str
    state: str
    bytes: int | None


class ServerReplica(BaseModel):
    replica: int
    state: str
    address: Address
    pid: int | None
    bytes: ServerBytes
    models: ServerModels
    foreignModels: list[ForeignModel]  # noqa: N815


class ServerStatus(BaseModel):
    conditions: list[ConditionObject]
    replicas: list[ServerReplica]


class ServerObject(BaseModel):
    apiVersion: str  # noqa: N815
    kind: Literal["Server"]
    metadata: MetadataObject
    spec: dict[str, object]
    status: ServerStatus
