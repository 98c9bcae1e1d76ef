"""What the scheduler of this machine is given: where its files are, and what its runtimes provide."""

from __future__ import annotations

import socket
from pathlib import Path

from overbook.agent.surveys import seen
from overbook.artifacts.address import Asked
from overbook.artifacts.survey import Survey
from overbook.machine import descriptors
from overbook.machine.options import ApiOptions
from overbook.placement import Provider
from overbook.runtimes.capabilities import sources
from overbook.scheduler.manifests_in import Defaults
from overbook.scheduler.part import SchedulerConfig
from overbook.scheduler.records import ArtifactAddress
from overbook.scheduler.web.limits import within
from overbook.tls.following import FollowedPair
from overbook.wire.peers import Peers


def scheduler_config(
    state_dir: Path,
    *,
    listen: str,
    host: str,
    api_port: int,
    api: ApiOptions,
    defaults: Defaults,
    alone: bool,
    asks_always: bool,
    tls: FollowedPair | None,
    peers: Peers | None,
) -> SchedulerConfig:
    """Its files are in `scheduler` in the state folder. ``defaults``: for Servers that do not say.

    ``asks_always``: for tokens, see `access`. ``tls``: of the control API.
    ``peers``: how parts know each other at ports.
    ``alone``: agents may be on other machines, so what is on the disk of this one says nothing of models.
    """
    return SchedulerConfig(
        state_dir=state_dir / "scheduler",
        listen=listen,
        api_host=host,
        api_port=api_port,
        defaults=defaults,
        providers=providers(),
        look=None if alone else _look,
        allowed_hosts=api.allowed_hosts,
        cors_origins=api.cors_origins,
        limits=within(descriptors.allowed()),
        asks_always=asks_always,
        tls=tls,
        peers=peers,
    )


def _look(address: ArtifactAddress) -> Survey | str:
    return seen(Asked(address.storage_uri, address.version), socket.gethostname())


def providers() -> tuple[Provider, ...]:
    """What the runtimes' data say of requirements, in the words of placement."""
    return tuple(Provider(each.word, each.runtime, each.extra, each.attached) for each in sources())
