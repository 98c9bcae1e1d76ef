"""Tokens as the gateway's own endpoints know them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from overbook.access.tokens import Token


@dataclass
class FakeAccess:
    """``holders``: by the header that shows the token. Without ``asked`` nobody needs one."""

    asked: bool = False
    holders: Mapping[str, Token] = field(default_factory=dict)

    def who(self, header: str | None) -> Token | None:
        return None if header is None else self.holders.get(header)
