"""What is said at the start of a process names what a person looks for next."""

from __future__ import annotations

from pathlib import Path

from overbook import __version__
from overbook.machine.banner import agent_lines, dialled, gateway_lines, scheduler_lines, up_lines
from overbook.machine.options import (
    AttachOptions,
    MetricsOptions,
    ServeAgentOptions,
    ServeGatewayOptions,
    ServeSchedulerOptions,
    UpOptions,
)
from overbook.runtimes.install import RuntimeInfo

STATE = Path("/state")
LOG = Path("/state/x.log")


def runtime(name: str, *packages: str, installed: bool = True) -> RuntimeInfo:
    return RuntimeInfo(name, installed, STATE, 7, packages, ("onnx",))


def test_up() -> None:
    runtimes = [runtime("mlserver", "mlserver==1.7.1", "numpy==2"), runtime("triton", "py==0.7")]
    options = UpOptions(STATE, host="0.0.0.0", port=1, api_port=2)
    assert up_lines(options, LOG, runtimes) == [
        f"Overbook {__version__}: scheduler, gateway and agents in one process",
        "  data plane   http://127.0.0.1:1  (REST; gRPC at 127.0.0.1:1)",
        "  control API  http://127.0.0.1:2  (described at http://127.0.0.1:2/docs)",
        "  metrics      http://127.0.0.1:2/metrics",
        "  runtimes     mlserver 1.7.1 (onnx), triton (py 0.7, onnx)",
        "  state        /state",
        "  log          /state/x.log  (of inference servers: overbook logs SERVER)",
    ]
    none = up_lines(options, LOG, [runtime("mlserver", installed=False)])
    assert none[4].startswith("  runtimes     none installed yet")


def test_parts() -> None:
    scheduler = ServeSchedulerOptions(STATE, "::1", 2, "127.0.0.1:3")
    assert scheduler_lines(scheduler, LOG)[1:4] == [
        "  control API  http://[::1]:2  (described at http://[::1]:2/docs)",
        "  metrics      http://[::1]:2/metrics",
        "  gRPC         127.0.0.1:3  (for agents and gateways)",
    ]
    agent = ServeAgentOptions(STATE, "s:1", "127.0.0.1:4", "own", 1, "triton", 2**31, 10)
    assert agent_lines(agent, LOG)[:2] == [
        f"Overbook {__version__}: agent of own/1",
        "  server       triton, started here; 2GiB for models",
    ]
    assert agent_lines(agent, LOG)[-1].endswith("overbook logs own/1)")
    attached = ServeAgentOptions(
        *(STATE, "s:1", "127.0.0.1:4", "own", 1, "triton", 2**31, 10),
        attach=AttachOptions("127.0.0.1:8000", "127.0.0.1:8001", STATE),
        metrics=MetricsOptions(port=5),
    )
    assert "triton at 127.0.0.1:8000, started by somebody else" in agent_lines(attached, LOG)[1]
    assert "  metrics      http://127.0.0.1:5/metrics" in agent_lines(attached, LOG)
    gateway = gateway_lines(ServeGatewayOptions(STATE, "s:1", "127.0.0.1", 9000), LOG)
    assert gateway[2:4] == [
        "  scheduler    s:1",
        "  metrics      not served; --metrics-port serves them",
    ]


def test_addresses_to_connect_to() -> None:
    assert [dialled(each) for each in ("0.0.0.0", "::", "::1", "10.0.0.1")] == [
        *("127.0.0.1", "[::1]", "[::1]", "10.0.0.1")
    ]
