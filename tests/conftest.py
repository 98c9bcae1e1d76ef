"""What holds for all tests. Fixtures live with those who use them."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

# Neither how long an example takes nor how long it takes to make one says that something is wrong: other tests run
# beside, and the unit tests give way to them.
settings.register_profile("ours", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ours")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Soaks run for as long as they say themselves."""
    for item in items:
        if item.get_closest_marker("soak") is not None:
            item.add_marker(pytest.mark.timeout(0))
