"""A router over a feed that an Envoy follows, without Envoy."""

from __future__ import annotations

import asyncio
from collections.abc import Container

from envoy.config.route.v3 import route_pb2

from overbook.gateway.own_routes import OwnRoutes
from overbook.gateway.router import Router, ServerAddresses
from overbook.gateway.snapshot.clusters import Fallback
from overbook.gateway.snapshot.names import Protocol
from overbook.gateway.xds import Feed


async def router_with(
    feed: Feed, model: str, *replicas: str, registered: Container[str] | None = None
) -> Router:
    """Envoy has the model's cluster for REST on each replica; the model is hot nowhere.

    ``registered``: models; by default this one, for good.
    """
    known: Container[str] = {model} if registered is None else registered
    fallback = Fallback()
    own = OwnRoutes(feed, fallback, lambda _: route_pb2.RouteConfiguration(name="data"))
    own.ask(None)
    router = Router(feed, fallback, own, lambda each: each in known)
    for replica in replicas:
        await router.set_address(replica, ServerAddresses(rest="h:1", grpc="h:2"))
        opening = asyncio.create_task(
            router.open(model, replica, Protocol.REST, now=0.0, timeout=5.0)
        )
        await asyncio.sleep(0)
        feed._acknowledge(feed.revision)
        await opening
    return router
