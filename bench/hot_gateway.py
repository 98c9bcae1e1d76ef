"""A real gateway, in a process of its own, in front of an upstream where every model is hot.

`python -m bench.hot_gateway` is that process; `running_hot_gateway` starts it and waits until each model
has been asked for once, so that Envoy has a direct route for every one of them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx

from bench.errors import BenchFailed
from bench.processes import child, free_ports, share_priority, wait_until
from bench.scripted import Scene, playing
from overbook.gateway.part import GatewayConfig, GatewayPart, running_gateway
from overbook.gateway.snapshot.names import infer_path

_START_SECONDS: Final = 120.0
_ASK_SECONDS: Final = 30.0
_AT_ONCE: Final = 32


@dataclass(frozen=True, slots=True)
class HotGateway:
    """``envoy_pid``: its Envoy; ``port``: where clients connect on 127.0.0.1."""

    envoy_pid: int
    port: int


def token(number: int) -> str:
    """The tokens, which may use all models."""
    return f"ob_{number:043}"


def model_name(number: int) -> str:
    """The models are called m0, m1, …"""
    return f"m{number}"


@contextlib.contextmanager
def running_hot_gateway(
    upstream_port: int, models: int, body: object, *, tokens: int = 0
) -> Iterator[HotGateway]:
    """Asks for one of so many tokens. Raises BenchFailed when it does not become ready."""
    # Paths of Unix sockets must be short.
    with tempfile.TemporaryDirectory(prefix="ob-hot-") as name:
        folder = Path(name)
        (port,) = free_ports(1)
        ready = folder / "ready.json"
        command = [
            *(sys.executable, "-m", "bench.hot_gateway", str(folder), json.dumps(body)),
            *("--port", str(port), "--upstream", str(upstream_port), "--models", str(models)),
            *("--tokens", str(tokens)),
        ]
        log = folder / "gateway.log"
        with child(command, log) as process:

            def is_ready() -> bool:
                if process.poll() is not None:
                    raise BenchFailed(f"the gateway ended: {log.read_text()[-500:]}")
                return ready.exists()

            wait_until("the gateway has all models hot", is_ready, seconds=_START_SECONDS)
            envoy = int(ready.read_text())
            share_priority([envoy])
            yield HotGateway(envoy, port)


async def _serve(options: argparse.Namespace) -> None:
    folder: Path = options.folder
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    scene = Scene(
        models=[model_name(number) for number in range(options.models)],
        upstream=f"127.0.0.1:{options.upstream}",
        scheduler_target=f"unix:{folder}/scheduler.sock",
        agent_target=f"unix:{folder}/agent.sock",
        tokens=[token(number) for number in range(options.tokens)],
    )
    config = GatewayConfig(
        state_dir=folder,
        run_dir=folder,
        scheduler_target=scene.scheduler_target,
        host="127.0.0.1",
        port=options.port,
    )
    async with playing(scene) as agent, running_gateway(config) as gateway:
        await _warm(gateway, scene, options)
        if agent.activations:
            raise BenchFailed(f"hot gateway: {agent.activations} requests found their model cold")
        temporary = folder / "ready.tmp"
        temporary.write_text(str(gateway.envoy.pid))
        temporary.rename(folder / "ready.json")
        await stop.wait()


async def _warm(gateway: GatewayPart, scene: Scene, options: argparse.Namespace) -> None:
    """Ask every model once, as a protocol over which nobody asked yet has no direct route, and wait for all routes."""
    async with asyncio.timeout(_ASK_SECONDS):
        while gateway.router.hot_models("bench/0") != set(scene.models):  # noqa: ASYNC110  no event
            await asyncio.sleep(0.05)
        await gateway.catalogue.wait_known()
    limit = asyncio.Semaphore(_AT_ONCE)
    body = json.loads(options.body)
    url = f"http://127.0.0.1:{options.port}"
    shown = {"authorization": f"Bearer {token(0)}"}
    async with httpx.AsyncClient(
        base_url=url, timeout=_ASK_SECONDS, trust_env=False, headers=shown
    ) as client:

        async def ask(model: str) -> None:
            async with limit:
                reply = await client.post(f"/v2/models/{model}/infer", json=body)
                reply.raise_for_status()

        async with asyncio.TaskGroup() as group:
            for model in scene.models:
                group.create_task(ask(model), name=f"ask {model}")
    async with asyncio.timeout(_ASK_SECONDS):
        while not all(infer_path(model) in gateway.feed for model in scene.models):  # noqa: ASYNC110  no event
            await asyncio.sleep(0.05)
    await gateway.feed.wait_acked(gateway.feed.revision, _ASK_SECONDS)


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("body")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", type=int, required=True)
    parser.add_argument("--models", type=int, required=True)
    parser.add_argument("--tokens", type=int, default=0)
    asyncio.run(_serve(parser.parse_args()))


if __name__ == "__main__":
    _main()
