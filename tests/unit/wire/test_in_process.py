"""Where parts listen and call at all without certificates."""

from __future__ import annotations

from typing import Any

import pytest

from overbook.wire.in_process import NotPrivate, check_private, serving


def _nothing(_: Any) -> None:
    return


async def test_no_part_listens_where_others_could_pass_for_parts() -> None:
    with pytest.raises(NotPrivate, match=r"gRPC 0\.0\.0\.0:0: others than this machine's users"):
        async with serving("0.0.0.0:0", _nothing, grace=0.0, peers=None):
            pass
    async with serving("127.0.0.1:0", _nothing, grace=0.0, peers=None) as target:
        assert target.startswith("127.0.0.1:")


def test_the_option_is_named_and_what_to_do() -> None:
    with pytest.raises(NotPrivate) as refused:
        check_private("overbook.example:9005", None, option="--scheduler")
    text = str(refused.value)
    assert text.startswith(
        "--scheduler overbook.example:9005: others than this machine's users can reach it"
    )
    assert (
        "give this part a certificate (--peer-cert, --peer-key and --peer-ca: `overbook tls init` makes"
        in text
    )
