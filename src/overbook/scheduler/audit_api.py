"""The part of the control API that shows its audit log."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Query, Response
from pydantic import AwareDatetime

from overbook.scheduler import audit_bodies
from overbook.scheduler.answers import answered, errors
from overbook.scheduler.audit import entries
from overbook.scheduler.audit.entries import Entry
from overbook.scheduler.audit.files import Wanted
from overbook.scheduler.audit.log import AuditLog

_MOST: Final = 1000


def audit_log(log: AuditLog) -> APIRouter:
    """The call `/api/v1/audit`."""
    router = APIRouter(prefix="/api/v1", tags=["events"])

    @router.get("/audit", response_model=audit_bodies.AuditAnswer, responses=errors(400, 429, 503))
    async def audit(
        after: Annotated[
            int | None,
            Query(
                ge=0, le=10**15, description="Entries with a larger number: the `last` of before."
            ),
        ] = None,
        since: Annotated[
            AwareDatetime | None, Query(description="Only entries of this time or later.")
        ] = None,
        model: Annotated[
            str | None,
            Query(max_length=253, description="Only entries about the Model of this name."),
        ] = None,
        limit: Annotated[int, Query(ge=1, le=_MOST, description="So many at most.")] = _MOST,
        wait: Annotated[
            float,
            Query(ge=0, le=60, description="With `after`: seconds to wait for the first one."),
        ] = 0.0,
    ) -> Response:
        """Who changed what is listed, the oldest first: from `after` or `since` on, or else the last ones."""
        begin = "" if since is None else _moment(since)

        def fits(entry: Entry) -> bool:
            if str(entry.get("time")) < begin:
                return False
            return model is None or (entry.get("kind"), entry.get("name")) == ("Model", model)

        mark = b"" if model is None else entries.written_name(model)
        wanted = Wanted(fits, mark)
        if after is None and since is None:
            page = await log.last(wanted, limit)
        else:
            page = await log.after(after or 0, wanted, limit, wait if after is not None else 0.0)
        return answered({"entries": page.entries, "last": page.last})

    return router


def _moment(time: datetime) -> str:
    """As it is written in entries, whose order is that of time."""
    text = time.astimezone(UTC).replace(tzinfo=None).isoformat("T", "milliseconds")
    return f"{text}Z"
