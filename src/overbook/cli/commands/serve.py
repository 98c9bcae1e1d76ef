"""`overbook serve …`: one part as a process of its own; options only, the machine does it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from overbook.cli.api_options import api_options, let_in
from overbook.cli.limit_options import limit_option
from overbook.cli.options import (
    PORT,
    activation_timeout_option,
    artifact_options,
    fetched_how,
    grace_option,
    insecure_option,
    metrics_options,
    parse_quantity,
    server_log_size_option,
    silence_limit_option,
)
from overbook.cli.tls_options import peer_files, peer_options, tls_files, tls_options
from overbook.machine.home import state_folder
from overbook.machine.options import (
    API_PORT,
    DATA_PORT,
    LOOPBACK,
    AttachOptions,
    EnvironmentOptions,
    MetricsOptions,
    ServeAgentOptions,
    ServeGatewayOptions,
    ServeSchedulerOptions,
)

_SCHEDULER = "127.0.0.1:9005"
_state_dir = click.option(
    "--state-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where state lives.  [env: OVERBOOK_STATE_DIR; default: ~/.local/state/overbook]",
)
_scheduler = click.option(
    "--scheduler",
    default=_SCHEDULER,
    show_default=True,
    metavar="TARGET",
    help="gRPC target of the scheduler: HOST:PORT or unix:PATH.",
)


@click.group()
def serve() -> None:
    """Run one part as a process of its own.

    `overbook up` runs all of them; use these to spread the parts over processes or machines.

    \b
    overbook serve scheduler
    overbook serve agent --server mlserver --memory 2Gi
    overbook serve gateway
    """
    # Else gRPC, which reads this when it is imported, writes a line for each stranger who fails to pass for a part.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")


@serve.command()
@_state_dir
@click.option("--host", default=LOOPBACK, show_default=True, help="Address of the control API.")
@click.option(
    "--api-port", type=PORT, metavar="PORT", default=API_PORT, show_default=True, help="Its port."
)
@click.option(
    "--listen",
    default=_SCHEDULER,
    show_default=True,
    metavar="TARGET",
    help="gRPC target for agents and gateways: HOST:PORT or unix:PATH.",
)
@insecure_option
@tls_options
@peer_options
@grace_option
@api_options
@click.pass_context
def scheduler(ctx: click.Context, /, state_dir: Path | None, **rest: Any) -> None:
    """The scheduler: desired state, placement, control API.

    \b
    overbook serve scheduler --listen 127.0.0.1:9005
    overbook serve scheduler --listen 10.0.0.5:9005 \\
      --peer-cert peer.pem --peer-key peer.key --peer-ca peer-ca.pem
    """
    from overbook.machine.serve import run_scheduler

    options = ServeSchedulerOptions(
        state_dir=state_folder(state_dir),
        api=let_in(rest),
        tls=tls_files(rest),
        peers=peer_files(rest),
        **rest,
    )
    ctx.exit(run_scheduler(options))


@serve.command()
@_state_dir
@_scheduler
@click.option(
    "--listen",
    default="127.0.0.1:9006",
    show_default=True,
    metavar="TARGET",
    help="gRPC target for gateways: HOST:PORT or unix:PATH.",
)
@click.option("--server", default="mlserver", show_default=True, help="Name of the Server.")
@click.option("--replica", type=click.IntRange(0), default=0, show_default=True, help="Which one.")
@click.option("--runtime", default="mlserver", show_default=True, help="Inference server to run.")
@click.option(
    "--memory",
    type=parse_quantity,
    metavar="BYTES",
    required=True,
    help="Budget for models, such as 2Gi.",
)
@click.option(
    "--overcommit",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    envvar="SELDON_OVERCOMMIT_PERCENTAGE",
    metavar="PERCENT",
    help="By how much registered models may exceed the budget.",
)
@click.option(
    "--capability",
    "capabilities",
    multiple=True,
    metavar="WORD",
    help="One more thing this server can serve; may be repeated.",
)
@click.option(
    "--rest",
    metavar="HOST:PORT",
    help="Use the inference server that answers REST there; start none.",
)
@click.option("--grpc", metavar="HOST:PORT", help="Where that one answers gRPC.")
@click.option(
    "--repository",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="The folder that it reads its models from.",
)
@metrics_options
@click.option(
    "--package",
    "packages",
    multiple=True,
    metavar="PACKAGE==VERSION",
    help="One more package, or another version, in an environment of its own; may be repeated.",
)
@click.option(
    "--requirements",
    type=click.Path(exists=True, dir_okay=False, resolve_path=True, path_type=Path),
    help="The same, as a file of requirements.",
)
@click.option(
    "--archive",
    type=click.Path(exists=True, dir_okay=False, resolve_path=True, path_type=Path),
    help="The same, packed by conda-pack or from a venv (.tar.gz).",
)
@grace_option
@silence_limit_option
@server_log_size_option
@artifact_options
@tls_options
@peer_options
@click.pass_context
def agent(ctx: click.Context, /, **_: object) -> None:
    """An agent and its inference server.

    \b
    overbook serve agent --server mlserver --replica 0 --memory 2Gi
    overbook serve agent --server triton --runtime triton --memory 8Gi \\
      --rest 127.0.0.1:8000 --grpc 127.0.0.1:8001 --repository /srv/triton
    """
    from overbook.machine.serve import run_agent

    given = ctx.params
    options = ServeAgentOptions(
        state_dir=state_folder(given["state_dir"]),
        scheduler=given["scheduler"],
        listen=given["listen"],
        server=given["server"],
        replica=given["replica"],
        runtime=given["runtime"],
        memory=given["memory"],
        overcommit=given["overcommit"],
        capabilities=given["capabilities"],
        attach=_attach(given["rest"], given["grpc"], given["repository"]),
        environment=_environment(given["packages"], given["requirements"], given["archive"]),
        grace=given["grace"],
        silence_limit=given["silence_limit"],
        server_log_size=given["server_log_size"],
        artifacts=fetched_how(given),
        tls=tls_files(given),
        peers=peer_files(given),
        metrics=MetricsOptions(given["metrics_host"], given["metrics_port"]),
    )
    ctx.exit(run_agent(options))


def _environment(
    packages: tuple[str, ...], requirements: Path | None, archive: Path | None
) -> EnvironmentOptions | None:
    given = sum(1 for each in (packages, requirements, archive) if each)
    if given > 1:
        raise click.UsageError(
            "--package, --requirements and --archive exclude each other; expected one of them"
        )
    return EnvironmentOptions(packages, requirements, archive) if given else None


def _attach(rest: str | None, grpc: str | None, repository: Path | None) -> AttachOptions | None:
    if rest is None and grpc is None and repository is None:
        return None
    if rest is None or grpc is None or repository is None:
        raise click.UsageError(
            "--rest, --grpc and --repository belong together; expected all or none"
        )
    for option, address in (("--rest", rest), ("--grpc", grpc)):
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit():
            raise click.UsageError(f"{option}: {address!r} is not an address; expected host:port")
    return AttachOptions(rest, grpc, repository.absolute())


@serve.command()
@_state_dir
@_scheduler
@click.option("--host", default=LOOPBACK, show_default=True, help="Address of the data plane.")
@click.option(
    "--port", type=PORT, metavar="PORT", default=DATA_PORT, show_default=True, help="Its port."
)
@metrics_options
@insecure_option
@tls_options
@peer_options
@activation_timeout_option
@limit_option
@grace_option
@click.pass_context
def gateway(ctx: click.Context, /, **_: object) -> None:
    """A gateway: Envoy and its controller.

    \b
    overbook serve gateway --scheduler 127.0.0.1:9005 --port 9000
    """
    from overbook.machine.serve import run_gateway

    given = ctx.params
    options = ServeGatewayOptions(
        state_dir=state_folder(given["state_dir"]),
        scheduler=given["scheduler"],
        host=given["host"],
        port=given["port"],
        activation_timeout=given["activation_timeout"],
        grace=given["grace"],
        insecure=given["insecure"],
        tls=tls_files(given),
        peers=peer_files(given),
        metrics=MetricsOptions(given["metrics_host"], given["metrics_port"]),
        limits=given["limits"],
    )
    ctx.exit(run_gateway(options))
