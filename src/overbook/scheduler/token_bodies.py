"""What the control API is told and tells of tokens: a part of `bodies`. A token itself is told once, when made."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import TypedDict

from overbook.scheduler.bodies import Moment

RoleName = Literal["infer", "viewer", "operator", "admin"]


class TokenBody(BaseModel):
    """A token to be made."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Annotated[str, Field(description="What people call it; never shown by who uses it.")]
    role: Annotated[RoleName, Field(description="What it may do (docs/security.md).")]
    models: Annotated[
        list[str],
        Field(description="Names of models that it may use, `*` for any characters; none: all."),
    ] = []
    expires_in: Annotated[
        float | None,
        Field(alias="expiresIn", description="Seconds after which it is void; null: never."),
    ] = None
    requests_per_second: Annotated[
        int | None,
        Field(
            alias="requestsPerSecond",
            description="Requests for models that it may make at each gateway; null: any number.",
        ),
    ] = None
    waiting: Annotated[
        int | None,
        Field(
            description="Requests that may wait for their models at once, at each gateway; null: any number."
        ),
    ] = None


class TokenObject(TypedDict):
    """A token without what makes it one."""

    name: Annotated[str, Field(description="What people call it.")]
    role: Annotated[RoleName, Field(description="What it may do (docs/security.md).")]
    models: Annotated[list[str], Field(description="Patterns; empty: all models.")]
    created: Annotated[Moment, Field(description="When it was made.")]
    expires: Annotated[Moment | None, Field(description="From when on it is void; null: never.")]
    requestsPerSecond: Annotated[
        int | None, Field(description="For models, at each gateway; null: any number.")
    ]
    waiting: Annotated[
        int | None,
        Field(description="That may wait for models at once, at each gateway; null: any number."),
    ]
    lastUsed: Annotated[
        Moment | None,
        Field(description="To the minute or so, by the control API or for a model; null: never."),
    ]


class NewToken(TokenObject):
    """A token that was just made."""

    token: Annotated[str, Field(description="To be sent as `Authorization: Bearer TOKEN`.")]
    warnings: Annotated[
        list[str], Field(description="Gateways that may not know it yet, a line each.")
    ]
