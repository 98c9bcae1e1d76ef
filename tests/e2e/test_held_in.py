"""Inference servers are held in: other users of the machine reach neither them nor what Overbook keeps, and models'
code gets nothing that it does not need. Real servers; the other user is a real one, where the tests may become one.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.e2e import spies
from tests.e2e.process import Overbook, model_manifest, server_manifest

NOBODY = 65534
SERVERS = ("mlserver", "triton")
# What a user may have in the environment, and no model may see.
SECRETS = {
    name: f"hunter2-{name}"
    for name in (
        *(
            "AWS_SECRET_ACCESS_KEY",
            "AWS_ACCESS_KEY_ID",
            "OVERBOOK_TOKEN",
            "HF_TOKEN",
            "GITHUB_TOKEN",
        ),
        *("NVIDIA_API_KEY", "https_proxy", "SSH_AUTH_SOCK", "DATABASE_URL"),
    )
} | {
    "OVERBOOK_SECRET_STORE": '{"name": "store", "type": "s3", "parameters": {"secret": "hunter2"}}'
}


@pytest.fixture(scope="module")
def running(home: Path) -> Iterator[Overbook]:
    # Only the state folder itself is to keep others out.
    home.chmod(0o755)
    made = Overbook(home / "held")
    with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        patch.setenv("OVERBOOK_SERVER_VARIABLES", "OF_MODELS, FOR_*")
        patch.setenv("OF_MODELS", "named")
        patch.setenv("FOR_ALL", "begins so")
        patch.setenv("OMP_NUM_THREADS", "1")
        stack.push(made.start())
        patch.undo()
        made.wait_ready()
        (home / "held").chmod(0o755)
        applied = made.apply(
            server_manifest("200Mi"),
            server_manifest("200Mi", name="triton", serverConfig="triton"),
            model_manifest("mlserver-spy", spies.mlserver_spy(home / "a"), requirements=["python"]),
            model_manifest("triton-spy", spies.triton_spy(home / "b"), requirements=["triton"]),
        )
        assert applied.code == 0, applied.err
        for server in SERVERS:
            assert spies.told(made.data, f"{server}-spy")
        yield made


def folders(running: Overbook) -> list[Path]:
    """Whatever Overbook writes to."""
    return [running.folder / "state"]


def sockets(running: Overbook) -> list[Path]:
    return [
        path
        for folder in folders(running)
        for path in folder.rglob("*")
        if stat.S_ISSOCK(path.lstat().st_mode)
    ]


def segment_prefix(running: Overbook) -> str:
    """Of Triton's shared memory."""
    assert running.process is not None
    words = [
        word
        for each in psutil.Process(running.process.pid).children(recursive=True)
        for word in each.cmdline()
    ]
    return next(word.rpartition("=")[2] for word in words if "shm-region-prefix-name=" in word)


def test_nobody_else_can_read_what_overbook_keeps(running: Overbook) -> None:
    mine = [each for folder in folders(running) for each in (folder, *folder.rglob("*"))]
    segments = [*Path("/dev/shm").glob(f"{segment_prefix(running)}*")]
    assert len(mine) > 50
    assert segments
    for path in (*mine, *segments):
        found = path.lstat()
        open_to_others = not stat.S_ISLNK(found.st_mode) and found.st_mode & 0o077
        assert not open_to_others, f"{path}: {found.st_mode:o}"


def test_an_older_state_folder_is_closed_by_a_start(running: Overbook, home: Path) -> None:
    folder = home / "older"
    (folder / "state" / "agents" / "mlserver-0").mkdir(parents=True)
    log = folder / "state" / "agents" / "mlserver-0" / "server.log"
    log.write_text("a client's data")
    for path in (folder / "state", *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    with Overbook(folder):
        assert (folder / "state").stat().st_mode & 0o777 == 0o700
        assert log.stat().st_mode & 0o777 == 0o600


def test_the_servers_listen_at_no_port(running: Overbook) -> None:
    """Nothing is there to ask for a load, an unload, an answer, shared memory or another log level."""
    assert running.process is not None
    listening = {
        connection.laddr.port
        for each in psutil.Process(running.process.pid).children(recursive=True)
        for connection in each.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }
    # Envoy's; the control API is of the process itself.
    assert listening == {running.port}


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_no_other_user_can_connect_to_a_server(running: Overbook) -> None:
    found = sockets(running)
    names = {each.name for each in found}
    assert {"rest", "grpc:1", "infer", "metrics"} <= names
    script = """
import errno, os, socket, sys
os.setgroups([]); os.setgid(int(sys.argv[1])); os.setuid(int(sys.argv[1]))
for path in sys.argv[2:]:
    with socket.socket(socket.AF_UNIX) as trial:
        print(errno.errorcode.get(trial.connect_ex(path)))
"""
    paths = [str(each) for each in found]
    done = subprocess.run(
        [sys.executable, "-S", "-c", script, str(NOBODY), *paths],
        cwd="/",
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["EACCES"] * len(paths)
    # They are alive, and it is not the test that cannot connect.
    for path in paths:
        with socket.socket(socket.AF_UNIX) as trial:
            trial.connect(path)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v2/repository/models/{}/load"),
        ("POST", "/v2/repository/models/{}/unload"),
        ("POST", "/v2/systemsharedmemory/region/x/register"),
        ("POST", "/v2/logging"),
        ("POST", "/v2/trace/setting"),
    ],
)
@pytest.mark.parametrize("server", SERVERS)
def test_the_gateway_lets_nobody_through_to_what_steers_a_server(
    running: Overbook, server: str, method: str, path: str
) -> None:
    body = {"log_verbose_level": 9, "key": "/x", "offset": 0, "byte_size": 8}
    reply = running.data.request(method, path.format(f"{server}-spy"), json=body)
    assert reply.status_code >= 400, reply.text
    assert spies.told(running.data, f"{server}-spy")


def test_no_process_shows_a_secret_in_its_command(running: Overbook) -> None:
    """Other users see commands. What they see of the servers is paths that they may not enter."""
    assert running.process is not None
    for each in psutil.Process(running.process.pid).children(recursive=True):
        command = " ".join(each.cmdline())
        assert "restricted" not in command
        assert "key=" not in command


@pytest.mark.parametrize("server", SERVERS)
def test_a_models_code_sees_none_of_the_users_secrets(running: Overbook, server: str) -> None:
    found = spies.told(running.data, f"{server}-spy")["environment"]
    assert not [name for name, value in found.items() if "hunter2" in value]
    assert SECRETS.keys().isdisjoint(found)
    assert (found["OF_MODELS"], found["FOR_ALL"]) == ("named", "begins so")
    assert found["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize("server", SERVERS)
def test_a_models_code_gets_no_rights_and_a_temporary_folder_of_its_own(
    running: Overbook, server: str
) -> None:
    found = spies.told(running.data, f"{server}-spy")
    assert found["no_new_privileges"] == "1"
    assert found["core"] == 0
    assert found["umask"] == "0077"
    assert found["temporary"].startswith(str(running.folder / "state" / "agents" / f"{server}-0"))
    assert found["temporary_mode"] == 0o700


@pytest.mark.parametrize("server", SERVERS)
def test_a_models_code_finds_its_own_files_closed_to_writing(
    running: Overbook, server: str
) -> None:
    """By mode: it runs as the user to whom they belong."""
    artifacts = [
        path
        for path in (running.folder / "state" / "cache").rglob("*")
        if path.name in ("spy.py", "model.py", "config.pbtxt", "model-settings.json")
    ]
    assert len(artifacts) == 4
    assert {path.stat().st_mode & 0o777 for path in artifacts} == {0o400}


def test_no_request_waits_for_the_disk(running: Overbook) -> None:
    """Who writes to a file that is mapped into memory waits while the kernel writes that page out: on a disk that is
    busy, as with a large model that arrives, that took a tenth of a second and more.
    """
    assert running.process is not None
    state = str((running.folder / "state").resolve())
    family = psutil.Process(running.process.pid).children(recursive=True)
    assert len(family) >= 3, "Envoy and two servers"
    for process in family:
        lines = Path(f"/proc/{process.pid}/maps").read_text().splitlines()
        writable = [line for line in lines if line.split()[1].startswith("rw-s")]
        assert not [line for line in writable if state in line]
