"""HTTP/1.1 against the real Envoy with our configuration: known ways to smuggle a request, and new ones."""

from __future__ import annotations

import os
import random
import time
from collections import Counter

import pytest

from tests.integration.attacked import attacked, each_of, faults, sent
from tests.integration.http1_tricks import corpus, for_cold, invented

# Connections with something invented, the same in every run.
_INVENTED = 600
_SOAK_SECONDS = float(os.environ.get("OVERBOOK_FUZZ_SECONDS", "600"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cold", "asked"),
    [(False, True), (True, True), (False, False)],
    ids=["hot", "cold", "where nobody is asked for a token"],
)
async def test_known_ways_to_smuggle_a_request(cold: bool, asked: bool) -> None:
    tricks = {name: for_cold(attack) if cold else attack for name, attack in corpus().items()}
    async with attacked(asked=asked) as scene:
        found = await each_of(tricks.items(), lambda attack: sent(scene.port, attack))
        assert faults(found) == {}
        statuses = Counter(each for outcome in found.values() for each in outcome.statuses)
        # There are honest ones among them: somebody got through.
        assert statuses[200] > 50
        assert statuses[400] > 50


def _invented(seed: int) -> bytes:
    return for_cold(invented(seed)) if seed % 4 == 0 else invented(seed)


@pytest.mark.slow
async def test_invented_ones() -> None:
    async with attacked() as scene:
        attacks = ((f"seed {seed}", _invented(seed)) for seed in range(_INVENTED))
        found = await each_of(attacks, lambda attack: sent(scene.port, attack))
        assert faults(found) == {}


@pytest.mark.soak
async def test_invented_ones_for_long() -> None:
    first = random.SystemRandom().randrange(10**9)
    print(f"seeds from {first}")
    until = time.monotonic() + _SOAK_SECONDS
    async with attacked() as scene:
        while time.monotonic() < until:
            attacks = ((f"seed {seed}", _invented(seed)) for seed in range(first, first + 500))
            found = await each_of(attacks, lambda attack: sent(scene.port, attack))
            assert faults(found) == {}
            assert scene.smuggled() == []
            scene.server.arrived.clear()
            first += 500
