"""Why a connection over TLS, or one without it where it is asked for, came to nothing: in words, with what to do."""

from __future__ import annotations

import socket
import ssl
from typing import Final

from overbook.client.addresses import Address
from overbook.client.trust import CA_VARIABLE, CERT_VARIABLE, KEY_VARIABLE

# A look that only explains a failure takes no longer.
_LOOK_SECONDS: Final = 2.0
_LASTS_SECONDS: Final = 0.3
# Of OpenSSL: X509_V_ERR_CERT_NOT_YET_VALID, …_HAS_EXPIRED; …_HOSTNAME_MISMATCH, …_IP_ADDRESS_MISMATCH.
_OUT_OF_TIME: Final = frozenset({9, 10})
_OTHER_HOST: Final = frozenset({62, 64})
# What somebody who speaks no TLS has answered looks like, from here.
_PLAIN: Final = frozenset(
    {"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"}
)
_WITHOUT: Final = frozenset({"TLSV13_ALERT_CERTIFICATE_REQUIRED"})
# What servers of TLS 1.2 say of it; they say no more.
_PERHAPS_WITHOUT: Final = frozenset({"SSLV3_ALERT_HANDSHAKE_FAILURE"})
_REFUSED: Final = frozenset(
    {
        "TLSV1_ALERT_UNKNOWN_CA",
        "SSLV3_ALERT_BAD_CERTIFICATE",
        "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
        "SSLV3_ALERT_CERTIFICATE_EXPIRED",
        "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
        "TLSV1_ALERT_DECRYPT_ERROR",
    }
)


def told(error: ssl.SSLError, url: str, host: str) -> str:
    """One line."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _certificate(error, url, host)
    reason = error.reason or ""
    if reason in _PLAIN:
        return f"{url} speaks no TLS; ask by http://"
    if reason in _WITHOUT | _PERHAPS_WITHOUT:
        return f"{url} asks its clients for a certificate; set {CERT_VARIABLE} and {KEY_VARIABLE} to the files of yours"
    if reason in _REFUSED:
        return (
            f"{url} does not accept the certificate that it was shown ({reason.lower().replace('_', ' ')}); set "
            f"{CERT_VARIABLE} and {KEY_VARIABLE} to one of an authority that it trusts (its --tls-client-ca)"
        )
    what = reason.lower().replace("_", " ") or "it hung up"
    return (
        f"{url}: no connection over TLS ({what}); is it a port with TLS? Otherwise ask by http://"
    )


def trouble(address: Address, context: ssl.SSLContext | None, setting: str) -> str:
    """What a second look finds where a connection ended without a word; "" for nothing.

    ``context``: what is trusted, None where no TLS was spoken. ``setting``: how a user names another URL.
    """
    if context is not None:
        return _look(address, context)
    if _asks_for_tls(address):
        return f"{address.url} speaks TLS only; ask by https:// ({setting})"
    return ""


def _look(address: Address, context: ssl.SSLContext) -> str:
    """What is wrong with a connection over TLS to that port; "" when nothing is found."""
    url = address.url
    try:
        lasted = _shake(address, context)
    except ssl.SSLError as error:
        return told(error, url, address.host)
    except OSError:
        return ""
    if lasted:
        return ""
    return (
        f"{url} hangs up after the handshake, as servers do that ask their clients for a certificate and were shown "
        f"none that they accept; set {CERT_VARIABLE} and {KEY_VARIABLE} to the files of one (of its --tls-client-ca)"
    )


def _asks_for_tls(address: Address) -> bool:
    """Whether that port speaks TLS, whoever it is."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        _shake(address, context)
    except ssl.SSLError as error:
        # Its refusals are TLS, too.
        return "ALERT" in (error.reason or "")
    except OSError:
        return False
    return True


def _shake(address: Address, context: ssl.SSLContext) -> bool:
    """Whether the connection lasts for a moment. Raises what comes of it.

    What the server thinks of a client's certificate shows after the handshake; some say it, others hang up.
    """
    with (
        socket.create_connection((address.host, address.port), timeout=_LOOK_SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=address.host) as wrapped,
    ):
        wrapped.settimeout(_LASTS_SECONDS)
        try:
            return bool(wrapped.recv(1))
        except TimeoutError:
            return True
        except ConnectionError:
            return False


def _certificate(error: ssl.SSLCertVerificationError, url: str, host: str) -> str:
    why = error.verify_message.rstrip(".")
    if error.verify_code in _OTHER_HOST:
        return (
            f"{url}: its certificate is not for {host!r} ({why}); ask by a name that it is for, or have it made for "
            f"this one too (`overbook tls init --name {host} --renew` where it runs)"
        )
    if error.verify_code in _OUT_OF_TIME:
        return (
            f"{url}: its certificate is not valid now ({why}); whoever runs it has to renew it, or look at the clocks "
            "of both machines"
        )
    return (
        f"{url}: its certificate is of no authority that is trusted here ({why}); set --ca or {CA_VARIABLE} to the "
        "file of the authority that made it, such as ca.pem of `overbook tls init`"
    )
