from __future__ import annotations

import random

import pytest

from buildx_cache.retry_policy import RetryPolicy


@pytest.fixture(autouse=True)
def _no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda _low, _high: 0.0)


@pytest.mark.parametrize(
    ("policy", "factor", "pauses"),
    [
        (RetryPolicy(tries=1, first=1, longest=20), 1, []),
        (RetryPolicy(tries=4, first=1, longest=20), 1, [1, 2, 4]),
        (RetryPolicy(tries=4, first=1, longest=3), 1, [1, 2, 3]),
        (RetryPolicy(tries=4, first=1, longest=20), 4, [4, 8, 16]),
        (RetryPolicy(tries=9, first=1, longest=20), 4, [4, 8, 16, 20, 20, 20, 20, 20]),
        (RetryPolicy(tries=9, first=1, longest=20, total=7), 1, [1, 2, 4]),
        (RetryPolicy(tries=9, first=1, longest=20, total=6.9), 1, [1, 2]),
    ],
)
def test_pauses_grow_up_to_their_bounds(policy: RetryPolicy, factor: float, pauses: list[float]) -> None:
    found: list[float] = []
    while (pause := policy.pause(len(found) + 1, sum(found), factor=factor)) is not None:
        found.append(pause)
    assert found == pauses
    assert factor != 1 or list(policy.pauses()) == pauses


def test_a_random_part_is_never_longer_than_the_first_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda _low, high: high)
    assert list(RetryPolicy(tries=3, first=2, longest=20).pauses()) == [4, 6]
