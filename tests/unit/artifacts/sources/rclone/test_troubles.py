"""What rclone says becomes one good line. The texts are what rclone 1.75 said to real servers."""

from __future__ import annotations

import json

import pytest

from overbook.artifacts.errors import Trouble
from overbook.artifacts.sources.rclone.program import End, Outcome
from overbook.artifacts.sources.rclone.troubles import (
    explained,
    no_version,
    nothing_there,
    skewed,
    too_many,
)

from .made import KEY_ID, MINIO, SECRET_KEY, remote, secret

LIST = "Failed to lsjson with 2 errors: last error was: error in ListJSON: operation error S3: ListObjects, "
SERVER = LIST + "https response error StatusCode: {}, RequestID: 1, HostID: , api error {}"
MADE = 'Failed to create file system for "source:bucket/a": '
AZURE = (
    MADE
    + "HEAD http://127.0.0.1:10000/account/shelf/models%2Fa\n---\nRESPONSE 403: 403 Server failed to "
    "authenticate the request. Make sure the value of the Authorization header is formed correctly including the "
    "signature.\nERROR CODE: AuthorizationFailure\n---\nResponse contained no body\n---\n"
)
S3_SAID = [
    (
        SERVER.format(
            403, "InvalidAccessKeyId: The Access Key Id you provided does not exist in our records."
        ),
        Trouble.BAD_SECRET,
        "'s3://bucket/a': secret 'minio': access_key_id is not known to the server",
    ),
    (
        SERVER.format(
            403, "SignatureDoesNotMatch: The request signature we calculated does not match"
        ),
        Trouble.BAD_SECRET,
        "'s3://bucket/a': secret 'minio': secret_access_key does not belong to access_key_id",
    ),
    (
        SERVER.format(403, "AccessDenied: Access Denied"),
        Trouble.NOT_ALLOWED,
        "'s3://bucket/a': secret 'minio' may not read it (the server says: AccessDenied); expected the right to list "
        "and to read there",
    ),
    (
        "Failed to copyto: operation error S3: HeadObject, https response error StatusCode: 403, RequestID: , "
        "HostID: , api error Forbidden: Forbidden",
        Trouble.NOT_ALLOWED,
        "'s3://bucket/a': secret 'minio' may not read it (the server says: Forbidden); expected the right to list and "
        "to read there",
    ),
    (
        SERVER.format(400, "ExpiredToken: The provided token has expired."),
        Trouble.BAD_SECRET,
        "'s3://bucket/a': secret 'minio': session_token has expired; expected a new one",
    ),
    (
        SERVER.format(400, "InvalidToken: The provided token is malformed or otherwise invalid."),
        Trouble.BAD_SECRET,
        "'s3://bucket/a': secret 'minio': session_token is no token that the server knows",
    ),
    (
        'Failed to update region for bucket: can\'t set region to "eu-west-1" as endpoint is set',
        Trouble.BAD_SECRET,
        "'s3://bucket/a': its bucket is in region eu-west-1; expected that as region of secret 'minio'",
    ),
    (
        SERVER.format(
            400,
            "AuthorizationHeaderMalformed: The authorization header is malformed; the region 'us-east-1' is wrong; "
            "expecting 'eu-west-1'",
        ),
        Trouble.BAD_SECRET,
        "'s3://bucket/a': its bucket is in region eu-west-1; expected that as region of secret 'minio'",
    ),
    (
        SERVER.format(
            301, "PermanentRedirect: The bucket you are attempting to access must be addressed"
        ),
        Trouble.BAD_SECRET,
        "'s3://bucket/a': its bucket is in another region; expected the right region (and endpoint) of secret 'minio'",
    ),
    (
        SERVER.format(429, "TooManyRequests: x"),
        Trouble.BUSY,
        "'s3://bucket/a': the server asks to come later",
    ),
    (
        SERVER.format(503, "SlowDown: Please reduce your request rate."),
        Trouble.BUSY,
        "'s3://bucket/a': the server asks to come later",
    ),
    (
        SERVER.format(500, "InternalError: We encountered an internal error."),
        Trouble.UNREACHABLE,
        "'s3://bucket/a': the server failed (status 500)",
    ),
    (
        "Failed to lsjson: error in ListJSON: directory not found",
        Trouble.NOT_FOUND,
        "'s3://bucket/a': there is no bucket 'bucket'; expected one that secret 'minio' can see",
    ),
    (
        LIST
        + "https response error StatusCode: 0, RequestID: , HostID: , request send failed, Get "
        '"http://nohost.invalid/shelf?delimiter=%2F": dial tcp: lookup nohost.invalid on 10.0.0.53:53: no such host',
        Trouble.UNREACHABLE,
        "'s3://bucket/a': no machine nohost.invalid is known; expected the name of a server, and a working name "
        "service",
    ),
    (
        LIST
        + "exceeded maximum number of attempts, 3, https response error StatusCode: 0, request send failed, Get "
        '"http://127.0.0.1:1/shelf?delimiter=%2F": dial tcp 127.0.0.1:1: connect: connection refused',
        Trouble.UNREACHABLE,
        "'s3://bucket/a': nothing answers at 127.0.0.1:1 (connection refused)",
    ),
    (
        LIST
        + 'request send failed, Get "https://minio:9000/shelf": tls: failed to verify certificate: x509: '
        "certificate signed by unknown authority",
        Trouble.NOT_TRUSTED,
        "'s3://bucket/a': the server's certificate does not verify (certificate signed by unknown authority); expected "
        "one that this machine trusts",
    ),
    (
        LIST
        + 'request send failed, Get "https://127.0.0.1:51861/shelf": http: server gave HTTP response to HTTPS '
        "client",
        Trouble.BAD_SECRET,
        "'s3://bucket/a': secret 'minio': the server of its endpoint speaks no TLS; expected http:// there",
    ),
    (
        LIST
        + "resolve auth scheme: resolve endpoint: endpoint rule error, Custom endpoint `https://bla bla` was not "
        "a valid URI",
        Trouble.BAD_SECRET,
        "'s3://bucket/a': secret 'minio': endpoint is no address of a server; expected one such as https://HOST:PORT",
    ),
    (
        MADE
        + 'couldn\'t parse config item "force_path_style" = "perhaps" as bool: parsing "perhaps" as bool '
        'failed: strconv.ParseBool: parsing "perhaps": invalid syntax',
        Trouble.BAD_SECRET,
        "'s3://bucket/a': secret 'minio': force_path_style is no bool; expected one",
    ),
    (
        MADE + "access_key_id not found",
        Trouble.BAD_SECRET,
        "'s3://bucket/a': secret 'minio': access_key_id is missing; expected it beside the other key",
    ),
    (
        MADE + 'didn\'t find backend called "whatever"',
        Trouble.BAD_SECRET,
        "'s3://bucket/a': secret 'minio': rclone has no type whatever; expected one such as s3",
    ),
    (
        "Failed to cat: write |1: no space left on device",
        Trouble.NO_SPACE,
        "'s3://bucket/a': the disk is full",
    ),
    (
        "Failed to copy: failed to open source object: read tcp 127.0.0.1:40000->127.0.0.1:9000: read: connection "
        "reset by peer",
        Trouble.UNREACHABLE,
        "'s3://bucket/a': the connection to the server broke (connection reset by peer)",
    ),
    (
        AZURE,
        Trouble.BAD_SECRET,
        "'s3://bucket/a': secret 'minio': key (or sas_url) is not the account's, or has expired",
    ),
]
SSH = 'Failed to create file system for "source:/models/a": '
SFTP_SAID = [
    (
        SSH
        + "NewFs: couldn't connect SSH: ssh: handshake failed: ssh: unable to authenticate, attempted methods "
        "[none password keyboard-interactive], no supported methods remain",
        Trouble.BAD_SECRET,
        "secret 'minio': neither its pass nor its key lets user 'me' in",
    ),
    (
        SSH + "input too short when revealing password - is it obscured?",
        Trouble.BAD_SECRET,
        "secret 'minio': pass is not as rclone has passwords; expected what `rclone obscure` makes of it",
    ),
    (
        SSH + "NewFs: couldn't connect SSH: ssh: handshake failed: knownhosts: key mismatch",
        Trouble.NOT_TRUSTED,
        "the server has another host key than secret 'minio' expects; expected the key in host_keys or known_hosts",
    ),
    (
        SSH + "NewFs: couldn't connect SSH: ssh: handshake failed: knownhosts: key is unknown",
        Trouble.NOT_TRUSTED,
        "the server's host key is not known; expected a line for it in ~/.ssh/known_hosts, or its host_keys",
    ),
    (
        SSH + "failed to read private key file: open /nonexist: no such file or directory",
        Trouble.BAD_SECRET,
        "secret 'minio': key_file /nonexist cannot be read (no such file or directory); expected a private key",
    ),
    (
        SSH
        + "couldn't parse known_hosts_file: open /home/me/.ssh/known_hosts: no such file or directory",
        Trouble.NOT_TRUSTED,
        "no host is known, as /home/me/.ssh/known_hosts cannot be read (no such file or directory); expected the "
        "server's line in it",
    ),
    (
        SSH + "NewFs: couldn't connect SSH: dial tcp 127.0.0.1:1: connect: connection refused",
        Trouble.UNREACHABLE,
        "nothing answers at 127.0.0.1:1 (connection refused)",
    ),
    (
        "Failed to lsjson with 2 errors: last error was: error in ListJSON: directory not found",
        Trouble.NOT_FOUND,
        "there is no file at '/models/a'; expected a file, or a folder with some",
    ),
]


def said(text: str, code: int = 1) -> Outcome:
    line = {"time": "2026-11-30T04:05:36Z", "level": "notice", "msg": text, "source": "cmd.go:1"}
    return Outcome(code, (json.dumps(line) + "\n",))


@pytest.mark.parametrize(("text", "trouble", "line"), S3_SAID)
def test_s3(text: str, trouble: Trouble, line: str) -> None:
    error = explained(remote("s3://bucket/a", secret()), said(text))
    assert str(error) == line
    assert error.trouble is trouble


@pytest.mark.parametrize(("text", "trouble", "line"), SFTP_SAID)
def test_sftp(text: str, trouble: Trouble, line: str) -> None:
    made = remote("sftp://me@host/models/a", secret("x", "sftp", {"pass": "abc"}))
    error = explained(made, said(text))
    assert str(error) == f"'sftp://me@host/models/a': {line}"
    assert error.trouble is trouble


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (
            "failed configuring Google Cloud Storage Service Account: error processing credentials: google: read JWT "
            "from JSON credentials: 'type' field is \"\"",
            "secret 'minio': service_account_credentials is no key of a service account; expected the JSON of one",
        ),
        (
            "error opening service account credentials file: open /nonexist: no such file or directory",
            "secret 'minio': service_account_file /nonexist cannot be read (no such file or directory); expected a key "
            "of a service account",
        ),
        (
            "failed to configure Google Cloud Storage: google: could not find default credentials. See https://cloud",
            "secret 'minio' has nothing to come in by; expected service_account_credentials, or anonymous: true",
        ),
    ],
)
def test_gcs(text: str, line: str) -> None:
    made = remote("gs://bucket/a", secret("gs", "google cloud storage", {"env_auth": "true"}))
    error = explained(made, said(MADE + text))
    assert str(error) == f"'gs://bucket/a': {line}"
    assert error.trouble is Trouble.BAD_SECRET


def test_the_clock() -> None:
    outcome = said(
        SERVER.format(403, "RequestTimeTooSkewed: The difference between the request time")
    )
    made = remote("s3://bucket/a", secret())
    assert skewed(outcome)
    assert not skewed(said("anything"))
    line = "'s3://bucket/a': this machine's clock is off{}; expected the right time, as by NTP"
    assert str(explained(made, outcome)) == line.format("")
    behind = explained(made, outcome, clock_off_s=3600.4)
    assert str(behind) == line.format(" by 3600 s (it is behind)")
    assert str(explained(made, outcome, clock_off_s=-60)) == line.format(" by 60 s (it is ahead)")


def test_a_machine_has_no_bad_secret() -> None:
    error = explained(remote("s3://bucket/a"), said(SERVER.format(403, "InvalidAccessKeyId: x")))
    assert error.trouble is Trouble.NOT_ALLOWED
    assert str(error) == (
        "'s3://bucket/a': this machine's own identity: access_key_id is not known to the server"
    )


def test_a_process_that_says_nothing() -> None:
    made = remote("s3://bucket/a", secret())
    stalled = explained(made, Outcome(-9, (), End.STALLED))
    assert stalled.trouble is Trouble.UNREACHABLE
    assert stalled.passing
    assert "exit code 7" in str(explained(made, Outcome(7, ())))


def test_what_nobody_knows_is_quoted_without_secrets_and_in_one_line() -> None:
    text = f"strange\n{KEY_ID} and {SECRET_KEY} at https://minio:9000/x?sig=abc " + "x" * 500
    error = str(explained(remote("s3://bucket/a", secret()), said(text)))
    assert "strange" in error
    assert "\n" not in error
    assert len(error) < 300
    for hidden in (KEY_ID, SECRET_KEY, "sig=abc"):
        assert hidden not in error


@pytest.mark.parametrize(("text", "trouble", "line"), S3_SAID)
def test_no_value_of_a_secret_is_ever_told(text: str, trouble: Trouble, line: str) -> None:
    for key in ("access_key_id", "secret_access_key"):
        hidden = secret(parameters=MINIO | {key: "swordfish"})
        error = str(explained(remote("s3://bucket/a", hidden), said(f"{text} swordfish")))
        assert "swordfish" not in error
    del trouble, line


def test_a_wrong_folder_does_not_look_like_a_wrong_credential() -> None:
    made = remote("s3://bucket/models/a", secret())
    error = nothing_there(made)
    assert error.trouble is Trouble.NOT_FOUND
    assert str(error) == (
        "'s3://bucket/models/a': bucket 'bucket' is there, but has nothing at 'models/a'; "
        "expected an object, or a folder with some"
    )
    assert "is empty" in str(nothing_there(remote("s3://bucket", secret())))
    assert "it has no folder '3' with files in it" in str(no_version(made, "3", ["1"]))
    assert too_many(made, 20_000).trouble is Trouble.REFUSED
