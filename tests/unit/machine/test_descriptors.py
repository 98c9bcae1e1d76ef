from __future__ import annotations

import resource

import pytest

from overbook.machine import descriptors


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((1024, 4096), (4096, 4096)),
        ((1024, 1_000_000_000), (131_072, 1_000_000_000)),
        ((1024, resource.RLIM_INFINITY), (131_072, resource.RLIM_INFINITY)),
        ((200_000, 1_000_000), (200_000, 1_000_000)),
        ((resource.RLIM_INFINITY,) * 2, (resource.RLIM_INFINITY,) * 2),
    ],
)
def test_the_limit_is_raised_to_what_is_allowed_and_useful(
    before: tuple[int, int], after: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = [before]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, wanted: limits.append(wanted))
    descriptors.raise_limit()
    assert limits[-1] == after


@pytest.mark.parametrize(
    ("limit", "told"), [((256, 256), 256), ((resource.RLIM_INFINITY,) * 2, 131_072)]
)
def test_how_many_there_may_be(
    limit: tuple[int, int], told: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: limit)
    assert descriptors.allowed() == told
