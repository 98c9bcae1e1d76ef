"""All that Envoy is told, in its own YAML, beside this file: `envoy.yaml`. What changes in it is seen in its diff.

When the change is meant, write the file anew and read the diff before you commit it:

    OVERBOOK_REWRITE_GOLDEN=1 .venv/bin/pytest tests/unit/gateway/snapshot/test_golden.py

The first document is what Envoy is started with; the others are what it is told over xDS while these models are known:

    busy     hot on MLServer, asked for so often that it has a route of its own
    leaving  as busy, but withdrawn just now: its route leads to the cold listener
    spread   hot on both replicas of MLServer
    vision   hot on Triton, over all three protocols
    waiting  cold; its place on Triton is kept for the next request that waits for it
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from difflib import unified_diff
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from google.protobuf import json_format

from overbook.gateway.newcomers import SETTLED_SECONDS
from overbook.gateway.own_routes import BUSY, OwnRoutes
from overbook.gateway.router import Router, ServerAddresses
from overbook.gateway.snapshot import bootstrap
from overbook.gateway.snapshot.clusters import Fallback
from overbook.gateway.snapshot.data_listener import Door
from overbook.gateway.snapshot.edge import EdgeLimits
from overbook.gateway.snapshot.names import Protocol
from overbook.gateway.snapshot.routes import Scripts, data_routes
from overbook.gateway.xds import CLUSTER_TYPE, ROUTE_TYPE, Feed

_GOLDEN: Final = Path(__file__).with_name("envoy.yaml")
_REWRITE: Final = "OVERBOOK_REWRITE_GOLDEN"
# The scripts have tests of their own; here it is told which of them stands where.
_SCRIPTS: Final = Scripts(
    choose_cluster="-- choose_cluster.lua",
    choose_rest="-- choose_rest.lua",
    choose_place="-- choose_place.lua",
    name_grpc="-- name_grpc.lua",
    name_rest="-- name_rest.lua",
    size_rest="-- size_rest.lua",
)
_FALLBACK: Final = Fallback(unanswered="-- unanswered.lua")
_MLSERVER, _MLSERVER_TOO, _TRITON = "mlserver/0", "mlserver/1", "triton/0"
_ADDRESSES: Final = {
    _MLSERVER: ServerAddresses(
        rest="127.0.0.1:20001",
        grpc="127.0.0.1:20002",
        infer="127.0.0.1:20003",
        counts_requests=True,
    ),
    _MLSERVER_TOO: ServerAddresses(
        rest="127.0.0.1:20011",
        grpc="127.0.0.1:20012",
        infer="127.0.0.1:20013",
        counts_requests=True,
    ),
    _TRITON: ServerAddresses(rest="127.0.0.1:20021", grpc="127.0.0.1:20022"),
}
_ASKED_FOR: Final = (
    ("busy", _MLSERVER, Protocol.REST),
    ("leaving", _MLSERVER, Protocol.REST),
    ("spread", _MLSERVER, Protocol.REST),
    ("spread", _MLSERVER_TOO, Protocol.GRPC),
    ("vision", _TRITON, Protocol.REST),
    ("vision", _TRITON, Protocol.GRPC),
    ("vision", _TRITON, Protocol.STREAM),
    ("waiting", _TRITON, Protocol.REST),
)
_HOT: Final = {
    _MLSERVER: ("busy", "leaving", "spread"),
    _MLSERVER_TOO: ("spread",),
    _TRITON: ("vision",),
}


class _Plain(yaml.SafeDumper):
    """Writes what is there twice twice: a reader should not have to look for it."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(documents: Mapping[str, object]) -> str:
    """One text of several documents, each below its title."""
    return "".join(
        f"---\n# {title}\n{yaml.dump(document, Dumper=_Plain, sort_keys=False, width=1000)}"
        for title, document in documents.items()
    )


async def _told() -> Feed:
    """What the router makes of the models above, without an Envoy: whatever is said is acknowledged at once."""
    feed = Feed()
    own_routes = OwnRoutes(feed, _FALLBACK, partial(data_routes, _SCRIPTS))
    own_routes.ask(None)
    router = Router(feed, _FALLBACK, own_routes, lambda model: True)
    for replica, addresses in _ADDRESSES.items():
        await router.set_address(replica, addresses)
    for model, replica, protocol in _ASKED_FOR:
        opening = asyncio.create_task(router.open(model, replica, protocol, now=0.0, timeout=5.0))
        await asyncio.sleep(0)
        feed._acknowledge(feed.revision)
        await opening
    for replica, models in _HOT.items():
        router.make_hot(replica, models)
    for second in range(int(SETTLED_SECONDS) + 3):
        for model in ("busy", "leaving"):
            own_routes.count(model, int(2 * BUSY))
        router.collect({}, float(second))
    router.forget_hot(_MLSERVER, keep=("busy", "spread"))
    return feed


def _resources(feed: Feed, type_: str) -> object:
    """Of one type by name, as Envoy reads them from a file."""
    found = sorted((name, each) for (kind, name), each in feed._wanted.items() if kind == type_)
    return {
        "resources": [
            _settled(
                json.loads(
                    json_format.MessageToJson(each.resource, preserving_proto_field_name=True)
                )
            )
            for _, each in found
        ]
    }


def _settled(value: Any) -> Any:
    """The one map that has several keys, by key: protobuf has no order of maps, and another in each process."""
    if isinstance(value, list):
        return [_settled(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: dict(sorted(each.items())) if name == "typed_per_filter_config" else _settled(each)
        for name, each in value.items()
    }


async def test_all_that_envoy_is_told_is_what_was_agreed() -> None:
    sockets = bootstrap.Sockets.in_folder(Path("/run/overbook"))
    document = bootstrap.document(
        door=Door("127.0.0.1", 9000),
        sockets=sockets,
        scripts=_SCRIPTS,
        limits=EdgeLimits(),
        request_log="/failed.log",
    )
    feed = await _told()
    text = _text(
        {
            "What Envoy is started with": document,
            "Clusters over xDS": _resources(feed, CLUSTER_TYPE),
            "Routes over xDS": _resources(feed, ROUTE_TYPE),
        }
    )
    if os.environ.get(_REWRITE) == "1":
        _GOLDEN.write_text(text)
    agreed = _GOLDEN.read_text()
    if text != agreed:
        changes = unified_diff(
            agreed.splitlines(), text.splitlines(), "agreed", "told", lineterm=""
        )
        pytest.fail(f"if that is meant, run with {_REWRITE}=1:\n" + "\n".join(changes))
