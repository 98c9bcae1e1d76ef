"""What the control API answers, described in this one place, each field with its unit. Requests: `request_bodies`.

`status` builds the answers, and mypy compares them with this field by field; OpenAPI shows it, and the tables of
docs/api.md are made from that (`make docs`). Data only.

An answer is a `TypedDict`, which costs nothing at run time: people wait for lists of 10,000 models.
"""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired, TypeAlias

from pydantic import Field
from typing_extensions import TypedDict

from overbook.placement.filters import Rule
from overbook.scheduler.amounts import (
    DecisionBytes,
    DiskBytes,
    FileTransfer,
    ModelBytes,
    ServerBytes,
)
from overbook.scheduler.records import Reason

Action: TypeAlias = Literal[
    "created", "configured", "unchanged", "skipped", "failed", "valid", "unseen"
]
State: TypeAlias = Literal["cold", "loading", "resident", "draining", "unloading", "failed"]

Moment: TypeAlias = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
ModelReason: TypeAlias = Annotated[
    str, Field(json_schema_extra={"enum": [each.value for each in Reason]})
]
ServerReason: TypeAlias = Annotated[
    str, Field(json_schema_extra={"enum": ["ServerReady", "ServerProgressing", "ServerFailed"]})
]
# As agents say it, and what is said in their place while they are away.
ServerState: TypeAlias = Annotated[
    str,
    Field(
        json_schema_extra={
            "enum": ["disconnected", "starting", "ready", "failed", "stopping", "stopped"]
        }
    ),
]
ForeignState: TypeAlias = Annotated[
    str, Field(json_schema_extra={"enum": ["ready", "loading", "absent"]})
]
RuleName: TypeAlias = Annotated[
    str, Field(json_schema_extra={"enum": [each.value for each in Rule]})
]


class ErrorAnswer(TypedDict):
    """Why a call was refused."""

    error: Annotated[str, Field(description="One line: field, value, what was expected.")]


class ApplyResult(TypedDict):
    """What became of one document."""

    kind: Annotated[
        str, Field(description="`Model` or `Server`; empty when the document has none.")
    ]
    name: Annotated[str, Field(description="`metadata.name`; empty when the document has none.")]
    generation: Annotated[
        int, Field(description="The generation that it has now; 0 when it was not stored.")
    ]
    action: Annotated[
        Action,
        Field(
            description="What was done; `skipped`: others handle its kind. "
            "Where nothing is stored: `valid`, `failed`, or `unseen`: nobody could look at its files, "
            "as the warnings say."
        ),
    ]
    error: Annotated[
        str | None,
        Field(
            description="Why it failed, in one line. With another action than `failed`: it is registered, "
            "but has no place yet, and is tried again by itself. Else null."
        ),
    ]
    warnings: Annotated[
        list[str], Field(description="What does no harm now, but will; a line each.")
    ]


class ApplyAnswer(TypedDict):
    """What became of the documents."""

    results: Annotated[list[ApplyResult], Field(description="One for each document, in order.")]
    warnings: Annotated[
        list[str],
        Field(
            description="About all of them together, a line each: models that pins leave no room for, and "
            "gateways and agents that do not act on the change yet."
        ),
    ]


class DoneAnswer(TypedDict):
    """It is done."""

    warnings: Annotated[
        list[str],
        Field(
            description="What follows from it, and which gateways and agents do not act on it yet; a line each."
        ),
    ]


class EventObject(TypedDict):
    """Something that happened to a Model or a Server, or in the scheduler."""

    seq: Annotated[
        int, Field(description="Its number. They begin at 1 whenever the scheduler starts.")
    ]
    time: Annotated[Moment, Field(description="When it happened.")]
    type: Annotated[
        Literal["Normal", "Warning"],
        Field(description="`Warning` when somebody should look at it."),
    ]
    reason: Annotated[str, Field(description="What happened, in one word, such as `ModelEvicted`.")]
    kind: Annotated[str, Field(description="Whom it is about: `Model`, `Server` or `Scheduler`.")]
    name: Annotated[
        str, Field(description="The name of that Model or Server; of the scheduler, its part.")
    ]
    replica: Annotated[
        str,
        Field(description="The server replica, such as `mlserver/0`; empty when it is about none."),
    ]
    message: Annotated[str, Field(description="The particulars, for people.")]


class EventsAnswer(TypedDict):
    """Events in the order in which they happened."""

    events: Annotated[
        list[EventObject],
        Field(description="Those after the number that was asked for, as far as they are kept."),
    ]
    last: Annotated[int, Field(description="The number to pass as `after` next time.")]


class LogAnswer(TypedDict):
    """Lines of an inference server's log."""

    replica: Annotated[str, Field(description="The server replica, such as `mlserver/0`.")]
    path: Annotated[str, Field(description="The file, on the machine of that replica's agent.")]
    lines: Annotated[
        list[str], Field(description="The lines, as the server and its models wrote them.")
    ]
    next: Annotated[str, Field(description="What to pass as `after` next time.")]
    missed: Annotated[bool, Field(description="Whether lines before these are not kept any more.")]


class VersionAnswer(TypedDict):
    """Which Overbook answers."""

    version: Annotated[str, Field(description="The version of the scheduler.")]


class MetadataObject(TypedDict):
    """Which object it is."""

    name: Annotated[str, Field(description="Unique among Models, or among Servers.")]
    generation: Annotated[
        int, Field(description="It begins at 1 and rises with every change of the spec.")
    ]
    namespace: NotRequired[Annotated[str, Field(description="Kept, and not interpreted.")]]
    labels: NotRequired[Annotated[dict[str, str], Field(description="Kept, and not interpreted.")]]
    annotations: NotRequired[
        Annotated[dict[str, str], Field(description="Kept, and not interpreted.")]
    ]


class ModelCondition(TypedDict):
    """Whether a Model is ready, and why."""

    type: Annotated[Literal["ModelReady"], Field(description="What the condition is about.")]
    status: Annotated[Literal["True", "False"], Field(description="Whether it is so.")]
    reason: Annotated[ModelReason, Field(description="Why, in one word.")]
    message: Annotated[str, Field(description="Why, for people.")]
    lastTransitionTime: Annotated[Moment, Field(description="When `status` changed last.")]


class ModelReplica(TypedDict):
    """A Model on one server replica, as its agent said last."""

    server: Annotated[str, Field(description="The name of the Server.")]
    replica: Annotated[int, Field(description="The number of its replica, from 0.")]
    state: Annotated[
        State, Field(description="Where it is; `cold` too before its agent has said anything.")
    ]
    bytes: Annotated[ModelBytes, Field(description="What it takes there.")]
    lastUsed: Annotated[
        Moment | None, Field(description="When its last request ended; null before the first.")
    ]
    inFlight: Annotated[int, Field(description="Requests that are being answered now.")]
    loads: Annotated[int, Field(description="How often it was loaded since its agent started.")]
    evictions: Annotated[
        int, Field(description="How often it was evicted since its agent started.")
    ]
    lastError: Annotated[
        str | None,
        Field(description="Why it failed there; null when it did not, or was loaded since."),
    ]
    retryAt: Annotated[
        Moment | None,
        Field(
            description="When the fetch of its files, which failed or waits, is tried again; null where none is."
        ),
    ]
    unverified: Annotated[
        str | None,
        Field(
            description="Why nobody knows whether it can be loaded; null once it was, and before its agent speaks."
        ),
    ]
    warnings: Annotated[
        list[str],
        Field(
            description="What may be wrong with it although it is served, such as files that another version of its "
            "framework saved; a line each."
        ),
    ]
    filesOnDisk: Annotated[
        bool,
        Field(
            description="Whether its files are on the disk there; those that left are fetched when they are needed."
        ),
    ]
    transfer: Annotated[
        FileTransfer | None, Field(description="How far the fetch is; null while there is none.")
    ]


class ModelStatus(TypedDict):
    """What has become of a Model."""

    conditions: Annotated[
        list[ModelCondition], Field(description="The one condition of a Model, `ModelReady`.")
    ]
    final: Annotated[
        bool,
        Field(
            description="Whether it failed so that nothing but a change, or a person's `activate`, makes it ready."
        ),
    ]
    replicas: Annotated[
        list[ModelReplica],
        Field(
            description="Each server replica that it has a seat on, including those that it is leaving."
        ),
    ]


class ModelObject(TypedDict):
    """A Model and its status."""

    apiVersion: Annotated[str, Field(description="As in the manifest.")]
    kind: Annotated[Literal["Model"], Field(description="What it is.")]
    metadata: Annotated[MetadataObject, Field(description="Which Model it is.")]
    spec: Annotated[
        dict[str, object],
        Field(description="As in the manifest (docs/manifests.md); `pinned` as it was set last."),
    ]
    status: Annotated[ModelStatus, Field(description="What has become of it.")]


class DecisionObject(TypedDict):
    """Why a server replica is to hold a Model or is not."""

    server: Annotated[str, Field(description="The name of the Server.")]
    replica: Annotated[int, Field(description="The number of its replica, from 0.")]
    chosen: Annotated[bool, Field(description="Whether it is to hold the Model.")]
    rule: Annotated[
        RuleName | None, Field(description="The rule by which it was refused; null when none did.")
    ]
    reason: Annotated[str, Field(description="Why, for people.")]
    bytes: Annotated[DecisionBytes, Field(description="The numbers.")]
    models: Annotated[int, Field(description="How many other models are registered there.")]


class VerdictObject(TypedDict):
    """Where a Model may be, by what is so at this moment."""

    model: Annotated[str, Field(description="The name of the Model.")]
    bytes: Annotated[int, Field(description="Bytes that it is reckoned with.")]
    wanted: Annotated[int, Field(description="How many replicas its spec asks for.")]
    needed: Annotated[int, Field(description="How many are enough: `minReplicas`, else as many.")]
    placed: Annotated[bool, Field(description="Whether there are enough.")]
    reason: Annotated[
        str, Field(description="Why there are fewer than wanted, in one line; empty when all are.")
    ]
    replicas: Annotated[
        list[DecisionObject], Field(description="Every server replica that there is.")
    ]


class ModelDescription(ModelObject):
    """A Model, why it is where it is, and what happened to it."""

    verdict: Annotated[VerdictObject, Field(description="Why each server replica holds it or not.")]
    events: Annotated[list[EventObject], Field(description="Its latest events.")]


class ServerCondition(TypedDict):
    """Whether a Server is ready, and why."""

    type: Annotated[Literal["Ready"], Field(description="What the condition is about.")]
    status: Annotated[Literal["True", "False"], Field(description="Whether it is so.")]
    reason: Annotated[ServerReason, Field(description="Why, in one word.")]
    message: Annotated[str, Field(description="Why, and what is about to go wrong, for people.")]
    lastTransitionTime: Annotated[Moment, Field(description="When `status` changed last.")]


class Address(TypedDict):
    """Where an inference server itself answers."""

    rest: Annotated[
        str | None,
        Field(description="unix:/path, host:port if attached; null while it is not known."),
    ]
    grpc: Annotated[
        str | None,
        Field(description="unix:/path, host:port if attached; null while it is not known."),
    ]


class ServerModels(TypedDict):
    """How many models one server replica has."""

    registered: Annotated[int, Field(description="How many have a seat there.")]
    resident: Annotated[int, Field(description="How many are in memory.")]


class ForeignModel(TypedDict):
    """A model in an attached server that Overbook did not put there."""

    name: Annotated[str, Field(description="Its name in that server.")]
    state: Annotated[ForeignState, Field(description="What that server says of it.")]
    bytes: Annotated[
        int | None, Field(description="Bytes that it takes; null where they are not known.")
    ]


class ServerReplica(TypedDict):
    """One replica of a Server, as its agent said last."""

    replica: Annotated[int, Field(description="Its number, from 0.")]
    state: Annotated[
        ServerState,
        Field(description="How its inference server is; `disconnected` while its agent is away."),
    ]
    address: Annotated[Address, Field(description="Where its inference server answers.")]
    pid: Annotated[
        int | None,
        Field(
            description="Its inference server's process; null while there is none, or none to be seen."
        ),
    ]
    bytes: Annotated[ServerBytes, Field(description="Its memory.")]
    models: Annotated[ServerModels, Field(description="Its models, counted.")]
    foreignModels: Annotated[
        list[ForeignModel],
        Field(description="Models that somebody else put there (docs/attach.md)."),
    ]
    disk: Annotated[
        DiskBytes | None,
        Field(description="Where its models' files are; null before its agent has said it."),
    ]


class ServerStatus(TypedDict):
    """What has become of a Server."""

    conditions: Annotated[
        list[ServerCondition], Field(description="The one condition of a Server, `Ready`.")
    ]
    replicas: Annotated[
        list[ServerReplica],
        Field(description="Each replica, in order, including those that are about to go."),
    ]


class ServerObject(TypedDict):
    """A Server and its status."""

    apiVersion: Annotated[str, Field(description="As in the manifest.")]
    kind: Annotated[Literal["Server"], Field(description="What it is.")]
    metadata: Annotated[MetadataObject, Field(description="Which Server it is.")]
    spec: Annotated[dict[str, object], Field(description="As in the manifest (docs/manifests.md).")]
    status: Annotated[ServerStatus, Field(description="What has become of it.")]


class ReplicaModels(TypedDict):
    """What is registered on one replica of a Server."""

    replica: Annotated[int, Field(description="Its number, from 0.")]
    models: Annotated[list[str], Field(description="Names of all models that have a seat there.")]
    limit: Annotated[
        int, Field(description="Bytes that may be registered there: the budget and the overcommit.")
    ]


class ServerDescription(ServerObject):
    """A Server, what is registered on it, and what happened to it."""

    verdict: Annotated[list[ReplicaModels], Field(description="Each of its replicas, in order.")]
    events: Annotated[list[EventObject], Field(description="Its latest events.")]
