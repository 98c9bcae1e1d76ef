"""One cold request at a time, taken apart: what of it is the load itself, what is Overbook's."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Final

from bench.direct_load import DirectLoader, direct_loader
from bench.errors import BenchFailed
from bench.samples import Samples, differences
from bench.stage import Fleet
from overbook.gateway.newcomers import GRANTS

# Between steps, so that what one leaves to be done is not charged to the next.
_REST_SECONDS: Final = 0.03
_HOT_REQUESTS: Final = 5


@dataclass(frozen=True, slots=True)
class Cold:
    """Milliseconds, sample by sample, of the same models.

    ``cold``: a request that activates; ``hot``: one when Envoy needs nobody for it any more; ``load``: MLServer's own
    load call, made past Overbook; ``agent_load``: that call as the agent saw it during the activation.
    """

    cold: Samples
    hot: Samples
    load: Samples
    agent_load: Samples

    @property
    def beyond(self) -> Samples:
        """What Overbook adds to the load call and the inference."""
        return differences(self.cold, self.hot, self.load)

    @property
    def beyond_own(self) -> Samples:
        """The same with the very load that was waited for, as the agent timed it."""
        return differences(self.cold, self.hot, self.agent_load)


def take_apart(fleet: Fleet, choose: Callable[[], str], samples: int) -> Cold:
    """``choose`` names a model that is cold now. Raises BenchFailed when one was not."""
    rows = []
    with direct_loader(fleet.instance) as loader:
        for _ in range(samples):
            rows.append(_sample(fleet, loader, choose()))
    columns = (Samples.of(column) for column in zip(*rows, strict=True))
    return Cold(*columns)


def _sample(fleet: Fleet, loader: DirectLoader, model: str) -> tuple[float, float, float, float]:
    time.sleep(_REST_SECONDS)
    count, seconds = fleet.instance.loads()
    cold = fleet.ask(model)
    count_after, seconds_after = fleet.instance.loads()
    if count_after != count + 1:
        raise BenchFailed(f"model {model}: {count_after - count} loads for a request, expected 1")
    for _ in range(GRANTS):
        fleet.ask(model)
    time.sleep(_REST_SECONDS)
    hot = median(fleet.ask(model) for _ in range(_HOT_REQUESTS))
    load = loader.load(fleet.homes[model])
    return cold, hot, load, (seconds_after - seconds) * 1000
