"""Whom clients trust, what they show, and what is said when a connection over TLS comes to nothing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from overbook.client.control import ControlClient
from overbook.client.errors import BadTrust, ClientError, TlsFailed
from overbook.client.inference_grpc import GrpcInference
from overbook.client.trust import CA_VARIABLE, CERT_VARIABLE, KEY_VARIABLE, Pinned, trust, trusting
from tests.unit.client.fake_overbook import running
from tests.unit.client.tls_server import Certificates, certificates, serving

HERE = ("localhost", "127.0.0.1")


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Certificates:
    for each in (CA_VARIABLE, CERT_VARIABLE, KEY_VARIABLE):
        monkeypatch.delenv(each, raising=False)
    return certificates(tmp_path)


def version(url: str) -> str:
    with ControlClient(url, timeout=5) as client:
        return client.version()


def refused(url: str) -> str:
    """The one line that is said."""
    with pytest.raises(TlsFailed) as error:
        version(url)
    assert "\n" not in str(error.value)
    return str(error.value)


def refused_over_grpc(url: str) -> str:
    client = GrpcInference(url)
    with pytest.raises(TlsFailed) as error:
        client.infer("iris", {"inputs": []}, timeout=5)
    client.close()
    return str(error.value)


def test_an_authority_is_trusted_that_is_named(
    made: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(*made.signed("server", hosts=HERE)) as url:
        said = refused(url)
        assert said.startswith(f"{url}: its certificate is of no authority that is trusted here")
        assert "set --ca or OVERBOOK_CA to the file of the authority that made it" in said
        assert refused_over_grpc(url) == said
        with trusting(ca=made.ca):
            assert version(url) == "tls"
        refused(url)
        monkeypatch.setenv(CA_VARIABLE, str(made.ca))
        assert version(url) == "tls"
        assert version(url.replace("127.0.0.1", "localhost")) == "tls"


def test_the_option_is_in_force_before_the_environment(
    made: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = certificates(tmp_path, "other")
    monkeypatch.setenv(CA_VARIABLE, str(made.ca))
    with serving(*other.signed("server", hosts=HERE)) as url:
        refused(url)
        with trusting(ca=other.ca):
            assert version(url) == "tls"


def test_a_certificate_that_is_known_needs_no_authority_and_no_name(
    made: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = made.signed("server", hosts=("elsewhere.example",))
    pinned = Pinned(certificate.read_text(), "elsewhere.example")
    with serving(certificate, key) as url, trusting(pinned=pinned):
        assert version(url) == "tls"
    with serving(*made.signed("other", hosts=HERE)) as url, trusting(pinned=pinned):
        assert "of no authority that is trusted here" in refused(url)
        # Who names an authority means it.
        monkeypatch.setenv(CA_VARIABLE, str(made.ca))
        assert version(url) == "tls"


def test_another_host_and_an_expired_certificate_are_told(made: Certificates) -> None:
    with trusting(ca=made.ca):
        with serving(*made.signed("server", hosts=("elsewhere.example",))) as url:
            said = refused(url)
            assert said.startswith(f"{url}: its certificate is not for '127.0.0.1' (")
            assert "`overbook tls init --name 127.0.0.1 --renew`" in said
            assert refused_over_grpc(url) == said
        with serving(*made.signed("server", hosts=HERE, days=-1)) as url:
            said = refused(url)
            assert said.startswith(
                f"{url}: its certificate is not valid now (certificate has expired)"
            )
            assert refused_over_grpc(url) == said


@pytest.mark.parametrize("say", [True, False])
def test_a_server_that_asks_for_a_certificate(
    made: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, say: bool
) -> None:
    strangers = certificates(tmp_path, "strangers")
    certificate, key = made.signed("server", hosts=HERE)
    told = f"set {CERT_VARIABLE} and {KEY_VARIABLE} to"
    with serving(certificate, key, clients=made.ca, say=say) as url, trusting(ca=made.ca):
        said = refused(url)
        assert told in said
        assert (
            "asks its clients for a certificate" if say else "hangs up after the handshake"
        ) in said
        assert told in refused_over_grpc(url)
        for name, path in zip(
            (CERT_VARIABLE, KEY_VARIABLE), strangers.signed("stranger"), strict=True
        ):
            monkeypatch.setenv(name, str(path))
        said = refused(url)
        assert told in said
        if say:
            assert "does not accept the certificate that it was shown" in said
        for name, path in zip((CERT_VARIABLE, KEY_VARIABLE), made.signed("client"), strict=True):
            monkeypatch.setenv(name, str(path))
        assert version(url) == "tls"


def test_tls_where_there_is_none(made: Certificates) -> None:
    with running() as fake, trusting(ca=made.ca):
        url = fake.url.replace("http:", "https:")
        assert refused(url) == f"{url} speaks no TLS; ask by http://"
        assert refused_over_grpc(url) == f"{url} speaks no TLS; ask by http://"


def test_none_where_there_is_tls(made: Certificates) -> None:
    with serving(*made.signed("server", hosts=HERE)) as encrypted:
        url = encrypted.replace("https:", "http:")
        assert (
            refused(url)
            == f"{url} speaks TLS only; ask by https:// (--api-url or OVERBOOK_API_URL)"
        )
        assert (
            refused_over_grpc(url)
            == f"{url} speaks TLS only; ask by https:// (--url or OVERBOOK_URL)"
        )


def test_what_cannot_be_read_is_wrong_usage(
    made: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with trusting(ca=tmp_path / "none"), pytest.raises(BadTrust, match="none cannot be read"):
        trust()
    nonsense = tmp_path / "nonsense"
    nonsense.write_text("nonsense")
    with trusting(ca=nonsense), pytest.raises(BadTrust, match="there is no certificate in it"):
        trust().context()
    certificate, _ = made.signed("client")
    monkeypatch.setenv(CERT_VARIABLE, str(certificate))
    with pytest.raises(BadTrust, match="belong together; expected both or none"):
        trust()
    monkeypatch.setenv(KEY_VARIABLE, str(made.signed("other")[1]))
    with pytest.raises(BadTrust, match="KEY_VALUES_MISMATCH"):
        trust().context()
    with pytest.raises(BadTrust, match="KEY_VALUES_MISMATCH"):
        trust().shown()
    monkeypatch.setenv(KEY_VARIABLE, str(tmp_path / "none"))
    with pytest.raises(BadTrust, match="No such file"):
        trust().context()


@contextmanager
def hanging_up() -> Iterator[str]:
    """Takes connections, and ends each at once."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    listener.accept()[0].close()
                except OSError:
                    return

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_who_hangs_up_is_not_taken_for_a_server_with_tls(made: Certificates) -> None:
    with hanging_up() as address:
        with pytest.raises(ClientError, match="without an answer; look at its log") as error:
            version(f"http://{address}")
        assert not isinstance(error.value, TlsFailed)
        assert "no connection over TLS" in refused(f"https://{address}")
