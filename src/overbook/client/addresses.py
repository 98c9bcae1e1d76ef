"""Where a running Overbook is found by default, and how users name another. Constants only."""

from __future__ import annotations

from typing import Final

DEFAULT_API_URL: Final = "http://127.0.0.1:9001"
DEFAULT_URL: Final = "http://127.0.0.1:9000"
API_URL_SETTING: Final = "--api-url or OVERBOOK_API_URL"
URL_SETTING: Final = "--url or OVERBOOK_URL"
