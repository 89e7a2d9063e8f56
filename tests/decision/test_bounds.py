"""Intervals of shares, against published values and by simulation."""

from __future__ import annotations

import random

import pytest

from asynccache.decision._bounds import interval, upper


@pytest.mark.parametrize(
    ("a", "b", "low", "high"),
    [  # 2.5 % and 97.5 % of Beta(a, b), as every statistics package gives them
        (1, 1, 0.025, 0.975),
        (2, 1, 0.158114, 0.987421),  # of x squared: the roots
        (1, 2, 0.012579, 0.841886),
    ],
)
def test_the_interval_is_that_of_the_beta_distribution(a: int, b: int, low: float, high: float) -> None:
    mean = a / (a + b)
    assert interval(mean, mean * (1 - mean) / (a + b + 1)) == pytest.approx((low, high), abs=2e-6)


def test_the_upper_bound_is_near_the_exact_one_for_rare_things() -> None:
    for wrong, seen in ((1.0, 200.0), (4.0, 300.0), (20.0, 1000.0)):
        mean = wrong / seen
        drawn = random.Random(1)
        draws = sorted(drawn.betavariate(wrong, seen - wrong) for _ in range(40_000))
        exact = draws[int(0.975 * len(draws))]
        assert upper(mean, mean * (1 - mean) / (seen + 1)) == pytest.approx(exact, rel=0.05)


def test_the_interval_holds_95_of_100_draws() -> None:
    drawn = random.Random(2)
    low, high = interval(0.02, 0.02 * 0.98 / 501)
    inside = sum(low <= drawn.betavariate(10, 490) <= high for _ in range(20_000)) / 20_000
    assert inside == pytest.approx(0.95, abs=0.01)


def test_what_is_hardly_known_may_be_anything() -> None:
    assert upper(0.001, 0.5) == 1.0
    assert interval(0.5, 0.3) == (0.0, 1.0)
    assert upper(0.0, 0.0) == 0.0
