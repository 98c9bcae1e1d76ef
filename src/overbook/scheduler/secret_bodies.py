"""What the control API is told and tells of secrets: a part of `bodies`. What is in a secret is never told."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from overbook.scheduler.bodies import Moment


class SecretBody(TypedDict, total=False):
    """One rclone remote, or a text that says so. It is sealed, and no call shows it."""

    name: Annotated[str, Field(description="The name that the remote gives itself.")]
    type: Annotated[str, Field(description="Its kind, as rclone calls it, such as `s3`.")]
    parameters: Annotated[
        dict[str, object],
        Field(description="Its options: text, numbers, true or false (docs/secrets.md)."),
    ]
    text: Annotated[
        str,
        Field(description="Instead of the others: all of them in JSON or YAML, 64 KiB at most."),
    ]


class SecretObject(TypedDict):
    """A secret that is stored, without what is in it."""

    name: Annotated[str, Field(description="What models call it (`secretName`).")]
    type: Annotated[
        str | None,
        Field(description="The remote's kind, such as `s3`; null where it cannot be opened."),
    ]
    updated: Annotated[Moment, Field(description="When it was set.")]
    usedBy: Annotated[list[str], Field(description="Models that name it.")]
    problem: Annotated[
        str | None,
        Field(description="Why it cannot be opened, and what to do, in one line; else null."),
    ]
