"""What the control API is asked in bodies: models of pydantic's, since they have to be checked. Answers: `bodies`."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, model_validator

from overbook.manifests.problems import field_name

# In one call: what people register at once, and as much again.
MAX_DOCUMENTS: Final = 20_000


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _known(cls, given: object) -> object:
        """One error for all fields that are unknown, instead of one for each of very many."""
        if isinstance(given, dict):
            for name in given:
                if name not in cls.model_fields:
                    known = ", ".join(cls.model_fields)
                    raise ValueError(f"{field_name((name,))} is an unknown field; expected {known}")
        return given


class ApplyBody(_Request):
    """Manifests to register, or to check."""

    documents: Annotated[
        list[object],
        Field(
            max_length=MAX_DOCUMENTS,
            description="Models and Servers as JSON objects (docs/manifests.md), at most "
            f"{MAX_DOCUMENTS} of them. Each stands alone.",
        ),
    ]


class TimeoutBody(_Request):
    """How long a command may take. The body may be left out."""

    timeout: Annotated[
        float,
        Field(
            gt=0, le=3600, strict=True, description="Seconds to wait for the agents; at most 3600."
        ),
    ] = 60.0
