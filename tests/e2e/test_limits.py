"""`--limit` of a real `overbook up`, tried from outside."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from tests.e2e.process import Overbook


def test_no_more_requests_per_second_than_up_was_told(home: Path) -> None:
    limits = ("--limit", "requests-per-second=20", "--limit", "connections=500")
    with Overbook(home / "limited", *limits) as running:
        url = f"http://127.0.0.1:{running.port}/v2"
        began = time.monotonic()
        with ThreadPoolExecutor(20) as threads:
            answers = list(threads.map(lambda _: httpx.get(url, timeout=30), range(200)))
        seconds = time.monotonic() - began
        codes = Counter(each.status_code for each in answers)
        assert set(codes) == {200, 429}
        # A second's worth may wait for whoever comes first.
        assert 20 <= codes[200] <= 20 * (seconds + 2)
        refused = next(each for each in answers if each.status_code == 429)
        assert refused.headers["retry-after"] == "1"
        # Who asks whether it lives must not be told no for others' sake.
        probes = [httpx.get(f"{url}/health/{each}") for each in ("live", "ready") * 50]
        assert 429 not in {each.status_code for each in probes}
        assert "more than 20 requests per second" in refused.json()["error"]
