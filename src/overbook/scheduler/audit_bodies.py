"""What the control API tells of its audit log: a part of `bodies`."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

from overbook.scheduler.audit.calls import Who
from overbook.scheduler.audit.entries import Outcome
from overbook.scheduler.bodies import Moment
from overbook.scheduler.token_bodies import RoleName


class AuditEntry(TypedDict):
    """What one call did to one object, or was refused."""

    seq: Annotated[int, Field(description="Its number, larger than all before, over restarts.")]
    time: Annotated[Moment, Field(description="When it was answered.")]
    request: Annotated[str, Field(description="The same for all entries of one call.")]
    who: Annotated[
        Who,
        Field(
            description="`token`: who showed it; `anyone`: tokens are not asked for; `unknown`: none that holds was "
            "shown, or the request was refused before anybody looked."
        ),
    ]
    token: Annotated[str | None, Field(description="The token's name. Overbook has one itself.")]
    role: Annotated[RoleName | None, Field(description="The token's role.")]
    address: Annotated[
        str,
        Field(description="Where it came from: `local`, or an address, which may be a proxy's."),
    ]
    call: Annotated[str, Field(description="Method and path.")]
    verb: Annotated[
        str,
        Field(
            description="What was asked for, in a word: `apply`, `delete`, `activate`, `evict`, `pin`, `unpin`, `set`, "
            "`create`, `revoke`; empty for what there is not."
        ),
    ]
    status: Annotated[
        int | None, Field(description="Of the answer; null: it could not be given any more.")
    ]
    kind: Annotated[
        str, Field(description="`Model`, `Server`, `Secret` or `Token`; empty where nobody knows.")
    ]
    name: Annotated[str, Field(description="Of the object.")]
    before: Annotated[
        int | None, Field(description="Its generation before; null: there was none, or not known.")
    ]
    after: Annotated[
        int | None, Field(description="Its generation now; null: there is none, or not known.")
    ]
    outcome: Annotated[
        Outcome,
        Field(
            description="`done`; for manifests `created`, `configured`, `failed` and `skipped`; `refused`: not let in, "
            "or not for this; `failed`: the status says how; `unanswered`."
        ),
    ]
    unchanged: Annotated[
        int, Field(description="Of an `apply`: documents that changed nothing, without entries.")
    ]
    lost: Annotated[
        int,
        Field(description="Entries before this one that could not be written: the disk was full."),
    ]


class AuditAnswer(TypedDict):
    """Entries in order."""

    entries: Annotated[list[AuditEntry], Field(description="Those that were asked for.")]
    last: Annotated[
        int, Field(description="To be asked for as `after` next: all before was looked at.")
    ]
