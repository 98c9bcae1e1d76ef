"""``python -m overbook_mlserver``: one MLServer process for one Overbook agent.

The guard starts before anything slow is imported, so that no orphan outlives its agent even when the
agent dies while frameworks are being imported. Nor does `pools` know of memory that was taken before it.
"""

from __future__ import annotations

import argparse
import sys

from overbook_mlserver import guard, pools


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="overbook_mlserver")
    for interface in ("rest", "grpc", "infer"):
        parser.add_argument(f"--{interface}", required=True, help="unix:/path or host:port")
    parser.add_argument("--models", required=True, help="folder of NAME/model-settings.json")
    parser.add_argument("--state", required=True, help="working folder of this process alone")
    parser.add_argument("--max-message-bytes", type=int, default=256 * 1024 * 1024)
    parser.add_argument("--parent-fd", type=int, help="pipe that closes when the agent dies")
    parser.add_argument("--shared-fd", type=int, help="memory that the agent reads")
    return parser.parse_args()


def main() -> None:
    arguments = _arguments()
    # Models' folders are shared and read-only to us: their code must not grow a __pycache__ there.
    sys.dont_write_bytecode = True
    guard.no_new_privileges()
    if arguments.parent_fd is not None:
        guard.exit_with_parent(arguments.parent_fd)
    pools.watch(arguments.state)

    from overbook_mlserver import server

    server.run(
        server.Options(
            rest=arguments.rest,
            grpc=arguments.grpc,
            infer=arguments.infer,
            models=arguments.models,
            state=arguments.state,
            max_message_bytes=arguments.max_message_bytes,
            shared=arguments.shared_fd,
        )
    )


main()
