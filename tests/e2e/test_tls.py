"""`overbook up` with TLS, with the clients that people have: from the first certificate to one renewed meanwhile."""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import grpc.aio
import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton_http
from cryptography import x509

from overbook.tls.authority import issue, make_authority
from tests.e2e.process import Overbook, model_manifest, server_manifest, wait_until
from tests.e2e.test_clients import CLIENTS_PYTHON
from tests.e2e.zoo import TrainedModel, train
from tests.unit.tls.certificates import put


class Secured:
    """A running Overbook with TLS, and where its certificates are."""

    def __init__(self, running: Overbook, folder: Path, model: TrainedModel) -> None:
        self.running = running
        self.folder = folder
        self.model = model

    @property
    def ca(self) -> str:
        return str(self.folder / "ca.pem")

    def serials(self) -> tuple[int, int]:
        """Of the certificates that new connections to data plane and control API are shown."""
        ports = (self.running.port, self.running.api_port)
        first, second = (
            x509.load_pem_x509_certificate(
                ssl.get_server_certificate(("127.0.0.1", port)).encode()
            ).serial_number
            for port in ports
        )
        return first, second

    def renew(self) -> None:
        """By the command; in force when this returns."""
        before = self.serials()
        done = self.running.run("tls", "init", "--dir", str(self.folder), "--renew")
        assert done.code == 0, done.err
        wait_until("both ports have it", lambda: not set(before) & set(self.serials()), seconds=10)

    def body(self) -> dict[str, object]:
        inputs = self.model.inputs
        tensor = {
            "name": "x",
            "datatype": "FP64",
            "shape": list(inputs.shape),
            "data": inputs.ravel().tolist(),
        }
        return {"inputs": [tensor]}


@pytest.fixture(scope="module")
def secured(home: Path) -> Iterator[Secured]:
    model = train(home / "zoo", "iris", megabytes=0.1, seed=0)
    # Elsewhere than in the state folder: whoever finds it is told.
    folder = home / "certificates"
    made = Overbook(home / "init").run("tls", "init", "--dir", str(folder))
    assert made.code == 0, made.err
    arguments = ("--tls-cert", str(folder / "server.pem"), "--tls-key", str(folder / "server.key"))
    with Overbook(home / "tls", *arguments, ca=folder / "ca.pem") as running:
        applied = running.apply(server_manifest("100Mi"), model_manifest("iris", model.folder))
        assert applied.code == 0, applied.err
        yield Secured(running, folder, model)


def test_the_command_line_on_the_same_machine_needs_nothing(secured: Secured) -> None:
    running = secured.running
    assert "iris" in running.run("get", "models").out
    request = json.dumps(secured.body())
    for way in ((), ("--grpc",)):
        answered = running.run("infer", "iris", request, *way)
        assert answered.code == 0, answered.err


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
@pytest.mark.parametrize("tls", ["1.2", "1.3"])
def test_curl(secured: Secured, version: str, tls: str) -> None:
    done = subprocess.run(
        [
            *("curl", "-sS", version, "--tls-max", tls, "--cacert", secured.ca),
            *("-w", "\n%{http_code} %{http_version}", "-H", "content-type: application/json"),
            *("-d", json.dumps(secured.body())),
            f"https://localhost:{secured.running.port}/v2/models/iris/infer",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    body, told = done.stdout.rsplit("\n", 1)
    assert told == f"200 {'2' if version == '--http2' else '1.1'}", body
    assert json.loads(body)["outputs"][0]["data"] == secured.model.expected.tolist()


@pytest.mark.parametrize("port", ["data", "api"])
def test_curl_is_refused_with_an_old_version_or_another_authority(
    secured: Secured, port: str
) -> None:
    number = secured.running.port if port == "data" else secured.running.api_port
    old = ("--tlsv1.0", "--tls-max", "1.1", "--ciphers", "DEFAULT:@SECLEVEL=0")
    other = ("--cacert", str(secured.folder / "peer-ca.pem"))
    for arguments, code, why in (
        # Envoy says why; asyncio hangs up.
        ((*old, "--cacert", secured.ca), 35, "version" if port == "data" else "SSL"),
        (other, 60, "certificate"),
    ):
        done = subprocess.run(
            ["curl", "-sS", *arguments, f"https://localhost:{number}/healthz"],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == code, done.stderr
        assert why in done.stderr


def test_tritonclient_over_rest(secured: Secured) -> None:
    client = triton_http.InferenceServerClient(
        f"127.0.0.1:{secured.running.port}", ssl=True, ssl_options={"ca_certs": secured.ca}
    )
    tensor = triton_http.InferInput("x", secured.model.inputs.shape, "FP64")
    tensor.set_data_from_numpy(secured.model.inputs)
    answer = client.infer("iris", [tensor])
    np.testing.assert_array_equal(answer.as_numpy("predict").ravel(), secured.model.expected)
    client.close()


def test_tritonclient_over_grpc(secured: Secured) -> None:
    client = triton_grpc.InferenceServerClient(
        f"127.0.0.1:{secured.running.port}", ssl=True, root_certificates=secured.ca
    )
    tensor = triton_grpc.InferInput("x", secured.model.inputs.shape, "FP64")
    tensor.set_data_from_numpy(secured.model.inputs)
    for verb in ("evict", "activate"):
        assert secured.running.run(verb, "iris").code == 0
        answer = client.infer("iris", [tensor])
        np.testing.assert_array_equal(answer.as_numpy("predict").ravel(), secured.model.expected)
    client.close()


def test_the_kserve_client(secured: Secured) -> None:
    done = subprocess.run(
        [
            str(CLIENTS_PYTHON),
            str(Path(__file__).with_name("kserve_client.py")),
            *(str(secured.running.port), "iris"),
            *(json.dumps(secured.model.inputs.tolist()), secured.ca),
        ],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert found["rest"] == found["grpc"] == secured.model.expected.tolist()


async def test_certificates_are_renewed_under_traffic_without_a_failed_request(
    secured: Secured,
) -> None:
    running, context = secured.running, ssl.create_default_context(cafile=secured.ca)
    expected = secured.model.expected.tolist()
    roots = await asyncio.to_thread(Path(secured.ca).read_bytes)
    stop = asyncio.Event()
    asked: dict[str, int] = {}

    def right(answer: httpx.Response) -> None:
        assert answer.status_code == 200, answer.text
        assert answer.json()["outputs"][0]["data"] == expected

    async def kept(name: str, *, http2: bool) -> None:
        async with httpx.AsyncClient(verify=context, http2=http2, timeout=60) as client:
            while not stop.is_set():
                right(await client.post(f"{running.url}/v2/models/iris/infer", json=secured.body()))
                asked[name] = asked.get(name, 0) + 1

    async def new() -> None:
        while not stop.is_set():
            async with httpx.AsyncClient(verify=context, timeout=60) as client:
                right(await client.post(f"{running.url}/v2/models/iris/infer", json=secured.body()))
                assert (await client.get(f"{running.api_url}/healthz")).status_code == 200
            asked["new"] = asked.get("new", 0) + 1

    async def over_grpc() -> None:
        credentials = grpc.ssl_channel_credentials(roots)
        async with grpc.aio.secure_channel(f"127.0.0.1:{running.port}", credentials) as channel:
            call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
                "/inference.GRPCInferenceService/ServerLive"
            )
            while not stop.is_set():
                assert await call(b"", timeout=30) == b"\x08\x01"
                asked["grpc"] = asked.get("grpc", 0) + 1

    async with asyncio.TaskGroup() as clients:
        clients.create_task(kept("kept", http2=False))
        clients.create_task(kept("kept, HTTP/2", http2=True))
        clients.create_task(new())
        clients.create_task(over_grpc())
        for _ in range(3):
            before = dict(asked)
            await asyncio.to_thread(secured.renew)
            for name in ("kept", "kept, HTTP/2", "new", "grpc"):
                while asked.get(name, 0) <= before.get(name, 0):  # noqa: ASYNC110  answers are waited for
                    await asyncio.sleep(0.01)
        stop.set()
    # Of which the command line has heard.
    assert secured.running.run("get", "models").code == 0


def test_a_file_that_is_no_good_is_told_and_the_old_one_stays(secured: Secured) -> None:
    certificate, key = secured.folder / "server.pem", secured.folder / "server.key"
    good, good_key = certificate.read_bytes(), key.read_bytes()
    before = secured.serials()
    two_days_ago = time.time() - 3 * 86_400
    expired = issue(
        make_authority("old", two_days_ago),
        "x",
        two_days_ago,
        hosts=("localhost",),
        server=True,
        days=1,
    )
    for spoiled, said in (
        (lambda: certificate.write_text("nonsense"), "no certificate can be read from it"),
        (lambda: put(secured.folder, "server", expired), "it expired on"),
        (lambda: certificate.unlink(), "cannot be read (No such file or directory)"),
    ):
        spoiled()
        wait_until("it is told", partial(_told, secured.running, said), seconds=10)
        assert secured.serials() == before
        assert secured.running.data.get("/v2/health/live").status_code == 200
    assert "what was there before stays in use" in secured.running.log()
    key.write_bytes(good_key)
    certificate.write_bytes(good)
    assert secured.serials() == before


def _told(running: Overbook, text: str) -> bool:
    return text in running.log()


@pytest.mark.parametrize("part", [("up",), ("serve", "scheduler"), ("serve", "gateway")])
def test_what_is_wrong_at_the_start_is_told_in_a_line(
    home: Path, secured: Secured, part: tuple[str, ...]
) -> None:
    key = secured.folder / "peer.key"
    started = Overbook(home / "wrong")
    result = started.run(
        *(*part, "--tls-cert", str(secured.folder / "server.pem"), "--tls-key", str(key)),
    )
    assert result.code == 1
    assert result.err.splitlines()[-1] == (
        f"Error: key {key}: it is not the key of certificate {secured.folder}/server.pem; expected the one that was "
        "made with it"
    )


def test_clients_may_have_to_show_certificates(home: Path) -> None:
    folder = home / "mutual"
    assert Overbook(home / "init").run("tls", "init", "--dir", str(folder)).code == 0
    pair = (folder / "client.pem", folder / "client.key")
    arguments = (
        *("--tls-cert", str(folder / "server.pem"), "--tls-key", str(folder / "server.key")),
        *("--tls-client-ca", str(folder / "ca.pem")),
    )
    with Overbook(home / "shown", *arguments, ca=folder / "ca.pem", shown=pair) as running:
        assert running.run("get", "servers").code == 0
        unknown = running.run("infer", "x", '{"inputs": []}', "--grpc")
        assert unknown.err == "Error: model x: not found\n"
        running.shown = None
        for command in (
            ("get", "servers"),
            ("infer", "x", '{"inputs": []}'),
            ("infer", "x", '{"inputs": []}', "--grpc"),
        ):
            refused = running.run(*command)
            assert refused.code == 1
            assert "set OVERBOOK_CLIENT_CERT and OVERBOOK_CLIENT_KEY to the files" in refused.err
        # What their holder may is said by tokens, which are asked for as well.
        running.shown = pair
        running.token = running.run("token", "create", "me", "--role", "admin").out.strip()
        assert running.data.get("/v2").status_code == 401
        shown = {"authorization": f"Bearer {running.token}"}
        assert running.data.get("/v2", headers=shown).status_code == 200
        assert running.run("infer", "x", '{"inputs": []}', "--grpc").err == unknown.err
        # Parts' certificates are of another authority.
        running.shown = (folder / "peer.pem", folder / "peer.key")
        assert running.run("get", "servers").code == 1
