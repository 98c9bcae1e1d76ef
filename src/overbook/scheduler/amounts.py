"""Amounts of bytes in the control API's JSON, of memory and of files: a part of `bodies`. Data only."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict


class ModelBytes(TypedDict):
    """Memory of a Model on one server replica, in bytes."""

    declared: Annotated[
        int | None,
        Field(description="Bytes by the manifest; null where it says nothing: no guess is shown."),
    ]
    measured: Annotated[
        int | None, Field(description="Bytes that it was measured to take; null until it was.")
    ]
    charged: Annotated[
        int, Field(description="Bytes of the budget that it is charged now; 0 while it is cold.")
    ]


class ServerBytes(TypedDict):
    """Memory of one server replica, in bytes."""

    budget: Annotated[int, Field(description="Bytes that models may fill.")]
    registered: Annotated[int, Field(description="Bytes of all models that have a seat there.")]
    resident: Annotated[
        int,
        Field(description="Bytes charged for models in memory, or on their way in or out."),
    ]
    process: Annotated[
        int | None,
        Field(description="Bytes that all its processes take; null where they cannot be seen."),
    ]
    base: Annotated[
        int | None,
        Field(description="Bytes that they took without models; null where they cannot be seen."),
    ]


class DecisionBytes(TypedDict):
    """What a decision rests on, in bytes."""

    registered: Annotated[int, Field(description="Bytes of the other models registered there.")]
    limit: Annotated[
        int, Field(description="Bytes that may be registered there: the budget and the overcommit.")
    ]
    budget: Annotated[int, Field(description="Bytes that models may fill there.")]


class FileTransfer(TypedDict):
    """How far the fetch of a Model's files is."""

    done: Annotated[int, Field(description="Bytes that have arrived.")]
    total: Annotated[
        int | None,
        Field(description="Bytes of all its files; null where their source does not say."),
    ]
    bytesPerSecond: Annotated[float, Field(description="How fast they arrived of late.")]
    secondsLeft: Annotated[
        float | None,
        Field(description="Seconds that the rest will take; null where nobody can tell."),
    ]


class DiskBytes(TypedDict):
    """The disk that an agent keeps models' files on, in bytes. Agents of one process share it."""

    used: Annotated[int, Field(description="Bytes of all files there.")]
    coming: Annotated[int, Field(description="Bytes kept free for what is being fetched.")]
    firm: Annotated[
        int,
        Field(description="Of those used, bytes of models in memory or pinned: they cannot leave."),
    ]
    budget: Annotated[int, Field(description="Bytes that files may take there (`--cache-size`).")]
