"""``python -m overbook_triton``: becomes one tritonserver process for one Overbook agent.

The working folder is the server's alone and everything in it is named relatively: Triton starts the stubs of its
Python backend through a shell, and a path with a space in it would fall apart there.
"""

from __future__ import annotations

import argparse
import os
import sys

from overbook_triton import guard, layout

_NO_CUDA = ("--cuda-memory-pool-byte-size=0:0", "--pinned-memory-pool-byte-size=0")
# Nothing is traced before somebody asks for it by the protocol, and that cannot name the file.
_TRACING = ("--trace-config=triton,file=trace.json", "--trace-config=level=OFF")

# Ours, and what Triton calls them.
_INTERFACES = {"rest": "http", "grpc": "grpc", "metrics": "metrics"}


def _listening(interface: str, address: str) -> tuple[str, ...]:
    """For HTTP the address of a Unix socket is its path, and a port means nothing; for gRPC both are the path."""
    host, _, port = address.rpartition(":")
    if address.startswith("unix:") and interface != "grpc":
        host, port = address, "1"
    name = _INTERFACES[interface]
    return (f"--{name}-address", host, f"--{name}-port", port)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="overbook_triton")
    for interface in _INTERFACES:
        parser.add_argument(f"--{interface}", required=True, help="unix:/path or host:port")
    parser.add_argument(
        "--models", required=True, help="model repository, below the working folder"
    )
    parser.add_argument(
        "--segments", required=True, help="prefix of shared memory, this replica's alone"
    )
    parser.add_argument(
        "--exit-seconds", type=int, default=3, help="how long models may take to end"
    )
    parser.add_argument("--parent-fd", type=int, help="pipe that closes when the agent dies")
    return parser.parse_args()


def main() -> None:
    arguments = _arguments()
    guard.no_new_privileges()
    try:
        installed = layout.find()
        layout.make_backends(installed, "backends")
    except layout.NotUsable as error:
        sys.exit(f"overbook_triton: {error}")
    layout.remove_segments(arguments.segments)
    if arguments.parent_fd is not None:
        guard.fork(
            parent_fd=arguments.parent_fd,
            segments=arguments.segments,
            seconds=arguments.exit_seconds + 2,
        )
    command = [
        str(installed.server),
        *(part for each in _INTERFACES for part in _listening(each, getattr(arguments, each))),
        "--model-control-mode=explicit",
        "--strict-readiness=false",
        # With it every load would start a stub twice: once to ask for the configuration, once to serve.
        "--disable-auto-complete-config",
        f"--model-repository={arguments.models}",
        "--backend-directory=backends",
        f"--backend-config=python,shm-region-prefix-name={arguments.segments}",
        f"--exit-timeout-secs={arguments.exit_seconds}",
        *_TRACING,
        *_NO_CUDA,
    ]
    os.execve(command[0], command, layout.environment(installed, os.environ))


main()
