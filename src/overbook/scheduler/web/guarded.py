"""Puts the guards of the control API around it, in the order in which a request meets them."""

from __future__ import annotations

from starlette.types import ASGIApp

from overbook.scheduler.web.intake import Intake
from overbook.scheduler.web.limits import Limits


def guarded(app: ASGIApp, limits: Limits) -> ASGIApp:
    """The application, which from now on is asked only what the guards let through."""
    return Intake(app, limits)
