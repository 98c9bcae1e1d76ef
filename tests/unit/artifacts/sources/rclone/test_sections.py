"""How a remote is written for rclone, and what is never written."""

from __future__ import annotations

import pytest

from overbook.artifacts.sources.rclone.sections import Unwritable, section, written


def test_written_as_rclone_reads_it() -> None:
    made = section("source", "s3", {"endpoint": "http://minio:9000", "env_auth": "false"})
    text = written((made,)).decode()
    assert text == "[source]\ntype = s3\nendpoint = http://minio:9000\nenv_auth = false\n"


def test_a_key_of_several_lines_is_put_on_one() -> None:
    made = section("source", "sftp", {"key_pem": "-----BEGIN\nabc\n-----END\n"})
    assert dict(made.parameters)["key_pem"] == r"-----BEGIN\nabc\n-----END"


def test_json_of_several_lines_is_put_on_one() -> None:
    made = section("source", "s3", {"service_account_credentials": '{\n "a": "b\\nc"\n}'})
    assert dict(made.parameters)["service_account_credentials"] == '{"a": "b\\nc"}'


@pytest.mark.parametrize("value", ["a\n[local]\ntype = local", "`a", '"""a', "x%(type)s", "a\0b"])
def test_what_would_be_read_otherwise_is_refused_and_not_told(value: str) -> None:
    with pytest.raises(Unwritable) as caught:
        section("source", "s3", {"secret_access_key": value})
    assert "secret_access_key" in str(caught.value)
    assert value not in str(caught.value)


@pytest.mark.parametrize("key", ["override.dump", "global.log_file", "Key", "a b", "a=b", "ssh"])
def test_a_key_that_is_more_than_a_parameter_is_refused(key: str) -> None:
    with pytest.raises(Unwritable):
        section("source", "sftp", {key: "x"})


@pytest.mark.parametrize("key", ["server_command", "bearer_token_command", "md5sum_command"])
def test_a_parameter_that_starts_a_program_is_refused(key: str) -> None:
    with pytest.raises(Unwritable, match="start a program"):
        section("source", "webdav", {key: "touch /tmp/x"})


def test_a_type_that_is_no_word_is_refused() -> None:
    with pytest.raises(Unwritable):
        section("source", "s3]\n[x", {})


def test_no_parameter_is_in_its_text() -> None:
    assert "swordfish" not in repr(section("source", "sftp", {"pass": "swordfish"}))
