"""`--tls-*` of what listens, `--ca` of what asks, and how a command finds an Overbook with TLS by itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from overbook.cli.main import main
from overbook.machine import serve as serving
from overbook.machine import up as upping
from overbook.machine.here import HERE
from overbook.machine.options import (
    ServeAgentOptions,
    ServeGatewayOptions,
    ServeSchedulerOptions,
    UpOptions,
)
from overbook.tls.files import PEER_NAME, TlsFiles
from tests.unit.client.tls_server import certificates
from tests.unit.client.tls_server import serving as tls_server


def run(*arguments: str, **environment: str | None) -> Result:
    result = CliRunner().invoke(main, arguments, env=environment)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("API_URL", "URL", "CA", "CLIENT_CERT", "CLIENT_KEY"):
        monkeypatch.delenv(f"OVERBOOK_{name}", raising=False)
    monkeypatch.setenv("OVERBOOK_STATE_DIR", str(tmp_path))
    return tmp_path


def test_files_go_to_whatever_listens(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[UpOptions | ServeSchedulerOptions | ServeGatewayOptions] = []

    def note(options: UpOptions | ServeSchedulerOptions | ServeGatewayOptions) -> int:
        seen.append(options)
        return 0

    monkeypatch.setattr(upping, "run_up", note)
    monkeypatch.setattr(serving, "run_scheduler", note)
    monkeypatch.setattr(serving, "run_gateway", note)
    given = ("--tls-cert", "/c", "--tls-key", "/k", "--tls-client-ca", "/a")
    for command in (("up",), ("serve", "scheduler"), ("serve", "gateway")):
        assert run(*command).exit_code == 0
        assert run(*command, *given).exit_code == 0
        assert run(*command, OVERBOOK_TLS_CERT="/c", OVERBOOK_TLS_KEY="/k").exit_code == 0
    files = TlsFiles(Path("/c"), Path("/k"), Path("/a"))
    alone = TlsFiles(Path("/c"), Path("/k"))
    assert [each.tls for each in seen] == [None, files, alone] * 3


@pytest.mark.parametrize("given", ["--tls-cert", "--tls-key", "--tls-client-ca"])
@pytest.mark.parametrize("command", [("up",), ("serve", "scheduler"), ("serve", "gateway")])
def test_half_a_pair_is_wrong_usage(state: Path, command: tuple[str, ...], given: str) -> None:
    result = run(*command, given, "/x")
    assert result.exit_code == 2
    assert "--tls-cert and --tls-key belong together" in result.output


def test_an_authority_may_be_named_before_and_after_the_command(state: Path) -> None:
    made = certificates(state)
    with tls_server(*made.signed("server", hosts=("127.0.0.1",))) as url:
        assert "running  tls" not in run("version", "--api-url", url).output
        for arguments in (
            ("version", "--api-url", url, "--ca", str(made.ca)),
            ("--ca", str(made.ca), "--api-url", url, "version"),
        ):
            assert f"running  tls at {url}" in run(*arguments).output
        # It was for those commands alone.
        assert "running  tls" not in run("version", "--api-url", url).output
        environment = {"OVERBOOK_CA": str(made.ca), "OVERBOOK_API_URL": url}
        assert f"running  tls at {url}" in run("version", **environment).output
    result = run("version", "--api-url", url, "--ca", "/nowhere")
    assert result.exit_code == 2
    assert "/nowhere cannot be read" in result.output


def test_an_overbook_with_tls_on_this_machine_is_found(state: Path) -> None:
    made = certificates(state)
    certificate, key = made.signed("server", hosts=("elsewhere.example",))
    with tls_server(certificate, key) as url:
        here = {"api": url, "data": url, "certificate": certificate.read_text(), "name": "x"}
        (state / HERE).write_text(json.dumps(here))
        assert f"running  tls at {url}" in run("version").output
        # By whatever way it is named.
        assert f"running  tls at {url}" in run("version", "--api-url", f"{url}/").output
        assert f"running  tls at {url}" in run("version", OVERBOOK_API_URL=url).output
    with tls_server(*made.signed("other", hosts=("elsewhere.example",))) as other:
        # Another is none of its business.
        assert "running  tls" not in run("version", "--api-url", other).output


def test_certificates_of_parts_go_to_each_part(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[ServeAgentOptions | ServeSchedulerOptions | ServeGatewayOptions] = []

    def note(options: ServeAgentOptions | ServeSchedulerOptions | ServeGatewayOptions) -> int:
        seen.append(options)
        return 0

    for part in ("scheduler", "agent", "gateway"):
        monkeypatch.setattr(serving, f"run_{part}", note)
        more = ("--memory", "1Gi") if part == "agent" else ()
        given = ("--peer-cert", "/c", "--peer-key", "/k", "--peer-ca", "/a")
        assert run("serve", part, *more, *given).exit_code == 0
        assert run("serve", part, *more).exit_code == 0
        result = run("serve", part, *more, *given[:4])
        assert result.exit_code == 2
        assert "--peer-cert, --peer-key and --peer-ca belong together" in result.output
    files = TlsFiles(Path("/c"), Path("/k"), Path("/a"), named=PEER_NAME)
    assert [each.peers for each in seen] == [files, None] * 3
