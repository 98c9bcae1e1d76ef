"""Puts the guards of the control API around it, in the order in which a request meets them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from overbook.scheduler.web.abandoned import Abandoned
from overbook.scheduler.web.browsers import BrowserCheck
from overbook.scheduler.web.headers import SecurityHeaders
from overbook.scheduler.web.hosts import HostCheck, KnownHosts
from overbook.scheduler.web.intake import Intake
from overbook.scheduler.web.limits import Limits


@dataclass(frozen=True, slots=True)
class Guards:
    """Who is let in, and how much. ``hosts``: what the API may be called; ``origins``: whose web pages may use it."""

    hosts: KnownHosts
    origins: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)


def guarded(app: ASGIApp, guards: Guards, authenticated: Callable[[ASGIApp], ASGIApp]) -> ASGIApp:
    """The application, which from now on is asked only what the guards let through. ``authenticated``: asks who it is,
    before any body is read.
    """
    app = authenticated(Intake(Abandoned(app), guards.limits))
    if guards.origins:
        # Outside the intake, so that a page that is let in can read its refusals, too.
        app = CORSMiddleware(
            app,
            allow_origins=guards.origins,
            allow_methods=("GET", "POST", "PUT", "DELETE"),
            allow_headers=("authorization", "content-type"),
            expose_headers=("retry-after",),
        )
    app = BrowserCheck(app, guards.origins)
    app = HostCheck(app, guards.hosts)
    return SecurityHeaders(app)
