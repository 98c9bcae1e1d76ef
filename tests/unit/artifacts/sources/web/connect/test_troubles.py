"""Each failure is one line that says what and where, and no secret."""

from __future__ import annotations

import socket
import ssl
from unittest.mock import Mock

import aiohttp
import pytest
from yarl import URL

from overbook.artifacts.errors import Trouble
from overbook.artifacts.sources.web.connect.troubles import of_exception, of_status

WHERE = URL("https://host/a?X-Amz-Signature=5e11")


@pytest.mark.parametrize(
    ("status", "trouble"),
    [
        (401, Trouble.NOT_ALLOWED),
        (403, Trouble.NOT_ALLOWED),
        (404, Trouble.NOT_FOUND),
        (410, Trouble.NOT_FOUND),
        (429, Trouble.BUSY),
        (408, Trouble.UNREACHABLE),
        (500, Trouble.UNREACHABLE),
        (503, Trouble.UNREACHABLE),
        (302, Trouble.REFUSED),
        (418, Trouble.REFUSED),
    ],
)
def test_each_status_means_one_trouble(status: int, trouble: Trouble) -> None:
    error = of_status(WHERE, status, "", left=False)
    assert error.trouble is trouble
    assert str(error).startswith("https://host/a: ")
    assert str(status) in str(error)
    assert "5e11" not in str(error)


def test_who_names_a_time_is_busy() -> None:
    error = of_status(WHERE, 503, "", left=False, retry_after=90)
    assert error.trouble is Trouble.BUSY
    assert error.retry_after == 90


def test_who_is_not_allowed_is_told_which_secret_it_was() -> None:
    assert "no secret was given: name one in secretName" in str(
        of_status(WHERE, 401, "", left=False)
    )
    assert "secret shelf does not suffice" in str(of_status(WHERE, 403, "shelf", left=False))
    assert "secret shelf was not sent there" in str(of_status(WHERE, 403, "shelf", left=True))


def certificate_error(code: int) -> aiohttp.ClientConnectorCertificateError:
    inner = ssl.SSLCertVerificationError(1, "certificate verify failed")
    inner.verify_code = code
    inner.verify_message = "something is wrong with it"
    return aiohttp.ClientConnectorCertificateError(Mock(), inner)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (10, "has expired"),
        (9, "not valid yet"),
        (62, "for another host name"),
        (18, "SSL_CERT_FILE"),
        (20, "SSL_CERT_FILE"),
        (23, "something is wrong with it"),
    ],
)
def test_certificates_that_do_not_verify(code: int, said: str) -> None:
    error = of_exception(WHERE, certificate_error(code))
    assert error.trouble is Trouble.NOT_TRUSTED
    assert said in str(error)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (aiohttp.ClientConnectorDNSError(Mock(), socket.gaierror(-2, "x")), "no such host"),
        (aiohttp.ClientConnectorError(Mock(), ConnectionRefusedError(111, "x")), "refused"),
        (aiohttp.ClientConnectorSSLError(Mock(), ssl.SSLError(1, "x")), "no TLS connection"),
        (aiohttp.ClientProxyConnectionError(Mock(), OSError(111, "x")), "HTTPS_PROXY"),
        (aiohttp.ClientHttpProxyError(Mock(), (), status=407), "proxy .* refused"),
        (aiohttp.SocketTimeoutError(), "sent nothing for too long"),
        (aiohttp.ConnectionTimeoutError(), "no connection in time"),
        (TimeoutError(), "no answer in time"),
        (aiohttp.ServerDisconnectedError(), "broke before the answer"),
        (ConnectionResetError(), "broke before the answer"),
        (aiohttp.ClientPayloadError("x"), "before all bytes were here"),
        (aiohttp.ClientResponseError(Mock(), ()), "no HTTP"),
        (aiohttp.ClientError("5e11"), "the connection failed"),
    ],
)
def test_connections_that_fail(error: Exception, said: str) -> None:
    found = of_exception(WHERE, error)
    assert found.trouble is Trouble.UNREACHABLE
    assert "\n" not in str(found)
    assert "5e11" not in str(found)
    with pytest.raises(type(found), match=said):
        raise found


def test_an_address_that_cannot_be_asked() -> None:
    assert of_exception(WHERE, UnicodeError("label too long")).trouble is Trouble.BAD_ADDRESS
