"""Every kind of server has its adapters, and what is no kind is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from overbook.agent.servers.attached.connection import Attachment
from overbook.agent.servers.factory import ATTACHED, LAUNCHED, attach, make_server
from overbook.runtimes.catalogue import RUNTIMES, UnknownRuntime
from overbook.runtimes.install import RuntimeEnvironment
from overbook.runtimes.server_kinds import SERVER_KINDS


def test_each_kind_can_be_started_and_attached() -> None:
    assert set(LAUNCHED) == {each.name for each in RUNTIMES}
    assert set(ATTACHED) == set(SERVER_KINDS)
    assert set(LAUNCHED) <= set(SERVER_KINDS)


def test_what_is_no_kind_is_no_mlserver(tmp_path: Path) -> None:
    with pytest.raises(
        UnknownRuntime, match="'torchserve' cannot be started; expected one of: mlserver, triton"
    ):
        make_server(RuntimeEnvironment("torchserve", tmp_path, tmp_path, tmp_path), tmp_path)
    nowhere = Attachment("localhost:1", "localhost:2", tmp_path)
    with pytest.raises(UnknownRuntime, match="'torchserve' cannot be attached"):
        attach("torchserve", nowhere, lambda: None)
